"""Distributions over listed values: constant, list, `choice`, `cycle`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, RootModel, model_validator

from factory.common.frozen import Frozen
from factory.distributions.base import Distribution, Scalar, Weight, value_type
from factory.distributions.template import Value, shown

if TYPE_CHECKING:
    from factory.distributions.base import Floats, Integers

_MANY = 8


class _Listed(Distribution):
    """Base of distributions over listed values."""

    def _listed(self) -> tuple[Value, ...]:
        raise AssertionError(f"{type(self).__name__} lists nothing")

    def values(self) -> list[Value]:
        """Return the distinct values in their order."""
        return list(dict.fromkeys(_typed(self._listed())))

    @model_validator(mode="after")
    def _one_type(self) -> _Listed:
        if not self._listed():
            raise ValueError("is an empty list; add at least one value")
        value_type(self._listed())
        return self


def _typed(values: Sequence[Value]) -> list[Value]:
    """Return the values with the column's type: one float makes all of them floats."""
    return [float(v) for v in values] if value_type(values) == "float64" else list(values)


class Constant(RootModel[Scalar], _Listed):
    """The same value for every image."""

    model_config = ConfigDict(frozen=True, extra=None)

    def _listed(self) -> tuple[Value, ...]:
        return (self.root,)

    def sample(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Return the value for every image."""
        return [self.root] * len(uniforms)

    def describe(self) -> str:
        """Return the value."""
        return "always " + _quoted(self.root)


class Uniformly(RootModel[tuple[Scalar, ...]], _Listed):
    """One of the values with equal probability."""

    model_config = ConfigDict(frozen=True, extra=None)

    def _listed(self) -> tuple[Value, ...]:
        return self.root

    def sample(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Divide (0, 1) into equal parts."""
        places = (uniforms * len(self.root)).astype("int64")
        return _pick(self.root, places)

    def describe(self) -> str:
        """List the values."""
        return f"one of {_listing(self.root)}"


class Weighted(Frozen):
    """A value with its relative weight."""

    value: Scalar = Field(description="The value.")
    weight: Weight = Field(default=1.0, description="Relative weight.")


def _as_weighted(given: Any) -> Any:
    if isinstance(given, dict):
        return [{"value": value, "weight": weight} for value, weight in given.items()]
    return given


class Choice(_Listed):
    """One of the values, by weight: `{choice: {sunny: 3, foggy: 1}}`."""

    choice: Annotated[
        tuple[Weighted, ...],
        BeforeValidator(_as_weighted, json_schema_input_type=dict[str, Weight] | list[Weighted]),
    ] = Field(description="Values with their weights, or a list of {value, weight}.")

    def _listed(self) -> tuple[Value, ...]:
        return tuple(one.value for one in self.choice)

    def sample(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Divide (0, 1) in proportion to the weights."""
        return _pick(self._listed(), pick_by_weight([one.weight for one in self.choice], uniforms))

    def describe(self) -> str:
        """List the values with their shares."""
        total = sum(one.weight for one in self.choice)
        parts = [f"{_quoted(one.value)} {one.weight / total:.0%}" for one in self.choice[:_MANY]]
        more = f", and {len(self.choice) - _MANY} more" if len(self.choice) > _MANY else ""
        return f"{', '.join(parts)}{more}"


class Cycle(_Listed):
    """The values in turn: image n of a class uses value n, starting over at the end."""

    cycle: tuple[Scalar, ...] = Field(
        description="The values, in order; each is used equally often."
    )

    def _listed(self) -> tuple[Value, ...]:
        return self.cycle

    def sample(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Count; the uniform numbers are not used."""
        return _pick(self.cycle, numbers % len(self.cycle))

    def describe(self) -> str:
        """List the values."""
        return f"in turn {_listing(self.cycle)}"


def pick_by_weight(weights: Sequence[float], uniforms: Floats) -> Integers:
    """Return the position that each uniform number selects by weight, int64, shape (images,)."""
    import numpy as np

    edges = np.cumsum(np.asarray(weights, np.float64))
    places = np.searchsorted(edges / edges[-1], uniforms, side="right")
    return np.minimum(places, len(weights) - 1).astype(np.int64)


def _pick(values: Sequence[Value], places: Integers) -> list[Value]:
    typed = _typed(values)
    return [typed[place] for place in places.tolist()]


def _quoted(value: Value) -> str:
    return f"'{value}'" if isinstance(value, str) else shown(value)


def _listing(values: Sequence[Value]) -> str:
    more = f", and {len(values) - _MANY} more" if len(values) > _MANY else ""
    return ", ".join(_quoted(value) for value in values[:_MANY]) + more
