"""Measure alternatives in turn and summarise what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

Answer = TypeVar("Answer")
ScaleName = Literal["full", "quick", "tiny"]


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        name: `full` for published figures, `quick` to try the benchmarks, `tiny` for the tests.
    """

    name: ScaleName = "full"

    def pick(self, full: Answer, quick: Answer, tiny: Answer) -> Answer:
        """Return the value of this scale."""
        return {"full": full, "quick": quick, "tiny": tiny}[self.name]

    @property
    def in_process(self) -> bool:
        """Whether everything runs in this process, which makes times meaningless."""
        return self.name == "tiny"


@dataclass(frozen=True)
class Spread:
    """Lowest, median and highest of several measurements."""

    low: float
    median: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise measurements."""
        return cls(min(values), statistics.median(values), max(values), len(values))


@dataclass(frozen=True)
class Figure:
    """One line of a table.

    Attributes:
        what: The quantity.
        unit: Its unit.
        ours: Measurements of this project.
        other: Name of the alternative; empty without one.
        others: Measurements of the alternative.
        ratio: Ours divided by the alternative's, of the pairs measured one after the other.
        note: Remark for the reader.
        is_limit: Whether the alternative does only what cannot be left out.
    """

    what: str
    unit: str
    ours: Spread
    other: str = ""
    others: Spread | None = None
    ratio: Spread | None = None
    note: str = ""
    is_limit: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    @classmethod
    def of_dict(cls, fields: Mapping[str, Any]) -> Figure:
        """Read it from plain values."""
        spreads = {
            name: Spread(**fields[name]) if fields[name] else None
            for name in ("ours", "others", "ratio")
        }
        return cls(**{**fields, **spreads})


def in_turn(
    measures: Mapping[str, Callable[[], Answer]], *, repeats: int
) -> dict[str, list[Answer]]:
    """Run every measurement once per round, in reversed order in every second round.

    A machine that gets slower or faster during the run affects all of them alike.
    """
    found: dict[str, list[Answer]] = {name: [] for name in measures}
    for number in range(repeats):
        names = list(measures) if number % 2 == 0 else [*reversed(measures)]
        for name in names:
            found[name].append(measures[name]())
    return found


def compared(
    what: str,
    unit: str,
    ours: Sequence[float],
    other: str = "",
    others: Sequence[float] = (),
    *,
    note: str = "",
    is_limit: bool = False,
) -> Figure:
    """Return a figure; with an alternative, also the ratios of the pairs."""
    if not other:
        return Figure(what, unit, Spread.of(ours), note=note)
    ratios = [one / two for one, two in zip(ours, others, strict=True) if two]
    return Figure(
        what,
        unit,
        Spread.of(ours),
        other,
        Spread.of(others),
        Spread.of(ratios) if ratios else None,
        note=note,
        is_limit=is_limit,
    )


def line_through(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return intercept and slope of the least-squares line through (x, y) points."""
    slope, intercept = statistics.linear_regression(*zip(*points, strict=True))
    return intercept, slope
