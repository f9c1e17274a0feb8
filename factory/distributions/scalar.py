"""Distributions: the possible values of recipe keys.

Each maps one uniform number to one value by inverting its cumulative distribution (`cycle` counts
instead), so a value never depends on how many others were sampled. One key names the distribution:
`{uniform: [1, 5]}`; a plain value is a constant, a list a uniform choice. `per_class` and `linked`,
which contain distributions, are in `factory.distributions.variables`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from factory.distributions.base import Distribution
from factory.distributions.continuous import (
    LogUniform,
    Normal,
    TruncatedNormal,
    Uniform,
    WholeNumbers,
)
from factory.distributions.discrete import Choice, Constant, Cycle, Uniformly

__all__ = [
    "KINDS",
    "AnyDistribution",
    "Choice",
    "Constant",
    "Cycle",
    "Distribution",
    "LogUniform",
    "Normal",
    "TruncatedNormal",
    "Uniform",
    "Uniformly",
    "WholeNumbers",
    "kind_of",
]

KINDS: dict[str, type[Distribution]] = {
    "choice": Choice,
    "cycle": Cycle,
    "uniform": Uniform,
    "loguniform": LogUniform,
    "normal": Normal,
    "truncated_normal": TruncatedNormal,
    "integers": WholeNumbers,
}


def kind_of(given: Any) -> str | None:
    """Return the tag of a written value: `@constant`, `@list`, `@` and a key, or None."""
    if isinstance(given, Constant):
        return "@constant"
    if isinstance(given, Uniformly | list | tuple):
        return "@list"
    if isinstance(given, Distribution):
        return next((f"@{name}" for name, kind in KINDS.items() if type(given) is kind), None)
    if isinstance(given, dict):
        return next((f"@{name}" for name in KINDS if name in given), None)
    return "@constant"


AnyDistribution = Annotated[
    Annotated[Constant, Tag("@constant")]
    | Annotated[Uniformly, Tag("@list")]
    | Annotated[Choice, Tag("@choice")]
    | Annotated[Cycle, Tag("@cycle")]
    | Annotated[Uniform, Tag("@uniform")]
    | Annotated[LogUniform, Tag("@loguniform")]
    | Annotated[Normal, Tag("@normal")]
    | Annotated[TruncatedNormal, Tag("@truncated_normal")]
    | Annotated[WholeNumbers, Tag("@integers")],
    Discriminator(kind_of),
]
