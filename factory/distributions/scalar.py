"""Distributions: the possible values of recipe keys.

Each maps one uniform number to one value by inverting its cumulative distribution (`cycle` counts
instead), so a value never depends on how many others were sampled. One key names the distribution:
`{uniform: [1, 5]}`; a plain value is a constant, a list a uniform choice. `per_class` and `linked`,
which contain distributions, are in `factory.distributions.variables`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Discriminator, Tag

from factory.common.frozen import Frozen
from factory.distributions.base import Distribution
from factory.distributions.continuous import (
    LogUniform,
    Normal,
    TruncatedNormal,
    Uniform,
    WholeNumbers,
)
from factory.distributions.discrete import Choice, Constant, Cycle, Uniformly

KINDS: dict[str, type[Distribution]] = {
    "choice": Choice,
    "cycle": Cycle,
    "uniform": Uniform,
    "loguniform": LogUniform,
    "normal": Normal,
    "truncated_normal": TruncatedNormal,
    "integers": WholeNumbers,
}
"""Distributions by the key that names them."""


def tag_of(given: Any, kinds: Mapping[str, type[Frozen]]) -> str | None:
    """Return `@` and the key of a written or constructed value, or None."""
    if isinstance(given, dict):
        return next((f"@{name}" for name in kinds if name in given), None)
    return next((f"@{name}" for name, kind in kinds.items() if type(given) is kind), None)


def kind_of(given: Any) -> str | None:
    """Return the tag of a written value: `@constant`, `@list`, `@` and a key, or None."""
    if isinstance(given, Uniformly | list | tuple):
        return "@list"
    if isinstance(given, dict | Distribution) and not isinstance(given, Constant):
        return tag_of(given, KINDS)
    return "@constant"


def union_of(kinds: Mapping[str, type[Frozen]], kind: Callable[[Any], str | None]) -> Any:
    """Return the type of constants, lists, `KINDS` and further kinds, chosen by tag.

    One union, not a nested one, which would put a second tag into every location.
    """
    listed = {"constant": Constant, "list": Uniformly, **KINDS, **kinds}
    # mypy would read the variables as types.
    annotated: Any = Annotated
    return annotated[
        reduce(or_, (annotated[one, Tag(f"@{name}")] for name, one in listed.items())),
        Discriminator(kind),
    ]


if TYPE_CHECKING:
    AnyDistribution = Distribution
else:
    AnyDistribution = union_of({}, kind_of)
