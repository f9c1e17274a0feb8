"""Base class of the distributions, their allowed values and column types.

The distributions are in `factory.distributions.discrete` and `factory.distributions.continuous`;
`factory.distributions.scalar` combines them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, Field, WithJsonSchema

from factory.common.frozen import Frozen
from factory.distributions.template import Value

if TYPE_CHECKING:
    # Reading a recipe does not import numpy, which takes 0.2 to 0.3 s of CPU time; sampling does.
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
ValueType = Literal["string", "int64", "float64", "bool"]

_MAX_INTEGER = 2**63 - 1


def _checked_value(value: Any) -> Value:
    if value is None:
        raise ValueError("null is not a value; write '' for an empty text")
    if isinstance(value, dict | list | tuple):
        raise ValueError("expected a text, number or boolean, found a list or mapping")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise ValueError("integers are limited to 63 bits")
    if not isinstance(value, str | int | float | bool):
        raise ValueError("expected a text, number or boolean")
    return value


_SCALAR_SCHEMA = {"type": ["string", "number", "boolean"]}
Scalar = Annotated[Any, AfterValidator(_checked_value), WithJsonSchema(_SCALAR_SCHEMA)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Integer = Annotated[int, Field(strict=True, ge=-_MAX_INTEGER, le=_MAX_INTEGER)]
Weight = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]


def value_type(values: Sequence[Value]) -> ValueType:
    """Return the column type that fits all values.

    Raises:
        ValueError: They mix texts, numbers and booleans.
    """
    kinds = {type(value) for value in values}
    if kinds == {str}:
        return "string"
    if kinds == {bool}:
        return "bool"
    if kinds == {int}:
        return "int64"
    if kinds <= {int, float}:
        return "float64"
    names = {str: "text", bool: "boolean", int: "number", float: "number"}
    odd = " and ".join(
        f"{names[kind]} {next(v for v in values if type(v) is kind)!r}"
        for kind in sorted(kinds, key=lambda k: names[k])
    )
    raise ValueError(f"mixes {odd}; quote values that should be text")


class Sampler(Protocol):
    """Sampler that returns one value per image; see `Distribution.sample`."""

    def sample(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Return one value per image."""
        ...


class Distribution(Frozen):
    """Interface of all distributions."""

    @property
    def by_class(self) -> bool:
        """Whether each class has its own sampler, which `of(label)` returns."""
        return False

    def of(self, label: str) -> Sampler | None:
        """Return the sampler of a class, or None."""
        return self

    def sample(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Return one value per image.

        Args:
            uniforms: Uniform numbers in (0, 1), float64, shape (images,).
            numbers: Each image's number within its class, from 0, shape (images,).
        """
        raise AssertionError(f"{type(self).__name__} has no values of its own")

    def describe(self) -> str:
        """Return a short description."""
        raise AssertionError(f"{type(self).__name__} has no text")

    def values(self) -> list[Value] | None:
        """Return all possible values, or None if there are too many to list."""
        return None

    def bounds(self) -> tuple[float, float]:
        """Return the lowest and highest possible number; NaN if values are not numbers."""
        listed = [v for v in self.values() or () if isinstance(v, int | float)]
        return (min(listed), max(listed)) if listed else (math.nan, math.nan)

    def type(self) -> ValueType:
        """Return the column type of its values."""
        return value_type(self.values() or [0.0])
