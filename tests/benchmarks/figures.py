"""Look figures up in the results, and write their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .timing import Figure, Spread


def of_full_run(found: Mapping[str, Any] | None) -> list[Figure]:
    """Return the figures of a section; none unless it was measured with full counts."""
    if found is None or found["status"] != "measured" or found["scale"] != "full":
        return []
    return [Figure.of_dict(one) for one in found["figures"]]


def find(figures: Sequence[Figure], what: str, other: str = "") -> Figure:
    """Return the first line whose quantity and alternative begin with these words.

    Raises:
        LookupError: There is none.
    """
    for one in figures:
        if one.what.startswith(what) and one.other.startswith(other):
            return one
    raise LookupError(f"{what}, {other}")


def ratio(figures: Sequence[Figure], what: str, other: str) -> float:
    """Return the median ratio of a line; raise LookupError if there is none."""
    return _median(find(figures, what, other).ratio)


def ours(figures: Sequence[Figure], what: str) -> float:
    """Return this project's median in a line; raise LookupError if there is none."""
    return find(figures, what).ours.median


def others(figures: Sequence[Figure], what: str, other: str) -> float:
    """Return the alternative's median in a line; raise LookupError if there is none."""
    return _median(find(figures, what, other).others)


def _median(spread: Spread | None) -> float:
    if spread is None:
        raise LookupError("nothing was compared")
    return spread.median


def number(value: float) -> str:
    """Return three significant digits, without exponents."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
