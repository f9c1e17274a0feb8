"""What every distribution is: the base model, the values it may hold, the types of their columns.

The distributions themselves are in `factory.distributions.discrete` and
`factory.distributions.continuous`; `factory.distributions.scalar` joins them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from factory.distributions.template import Value

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
ValueType = Literal["string", "int64", "float64", "bool"]

_MAX_INTEGER = 2**63 - 1


class Frozen(BaseModel):
    """Base of the recipe's models: unknown keys are errors, nothing changes after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _checked_value(value: Any) -> Value:
    if value is None:
        raise ValueError("null is no value; write '' for an empty text")
    if isinstance(value, dict | list | tuple):
        raise ValueError("expected a text, number or truth value, found a list or mapping")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no finite number")
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise ValueError("a whole number may have 63 bits")
    if not isinstance(value, str | int | float | bool):
        raise ValueError("expected a text, number or truth value")
    return value


_SCALAR_SCHEMA = {"type": ["string", "number", "boolean"]}
Scalar = Annotated[Any, AfterValidator(_checked_value), WithJsonSchema(_SCALAR_SCHEMA)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Integer = Annotated[int, Field(strict=True, ge=-_MAX_INTEGER, le=_MAX_INTEGER)]
Weight = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]


def value_type(values: Sequence[Value]) -> ValueType:
    """Return the column type that holds all values.

    Raises:
        ValueError: They mix texts, numbers and truth values.
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
    names = {str: "text", bool: "truth value", int: "number", float: "number"}
    odd = " and ".join(
        f"{names[kind]} {next(v for v in values if type(v) is kind)!r}"
        for kind in sorted(kinds, key=lambda k: names[k])
    )
    raise ValueError(f"mixes {odd}; quote what should be text")


class Draws(Protocol):
    """Gives one value an image; see `Distribution.draw`."""

    def draw(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Return one value an image."""
        ...


class Distribution(Frozen):
    """What every distribution answers."""

    @property
    def by_class(self) -> bool:
        """Whether each class draws from something of its own, which `of(label)` returns."""
        return False

    def of(self, label: str) -> Draws | None:
        """Return what a class draws from."""
        return self

    def draw(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Return one value an image.

        Args:
            uniforms: In (0, 1), float64, shape (images,).
            numbers: Each image's number within its class, from 0, shape (images,).
        """
        raise AssertionError(f"{type(self).__name__} draws nothing")

    def describe(self) -> str:
        """Return a short text for people."""
        raise AssertionError(f"{type(self).__name__} has no text")

    def values(self) -> list[Value] | None:
        """Return the distinct values it can take, or None where they are too many to list."""
        return None

    def bounds(self) -> tuple[float, float]:
        """Return the lowest and highest number it can take; NaN for other than numbers."""
        listed = [v for v in self.values() or () if isinstance(v, int | float)]
        return (min(listed), max(listed)) if listed else (math.nan, math.nan)

    def type(self) -> ValueType:
        """Return the column type of its values."""
        return value_type(self.values() or [0.0])
