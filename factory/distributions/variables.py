"""Quantities of a recipe: one distribution, one per class, or several variables at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from factory.common.frozen import Frozen
from factory.distributions.base import Distribution, Scalar, ValueType, value_type
from factory.distributions.captions import Captions
from factory.distributions.discrete import Uniformly
from factory.distributions.scalar import KINDS, AnyDistribution, kind_of, tag_of, union_of
from factory.distributions.template import Value

if TYPE_CHECKING:
    from factory.distributions.base import Floats, Integers


class PerClass(Frozen):
    """One distribution per class: `{per_class: {ship: [at sea, in port]}, default: [outdoors]}`."""

    per_class: dict[str, AnyDistribution] = Field(
        description="A distribution for each listed label."
    )
    default: AnyDistribution | None = Field(
        default=None, description="For all other labels; required unless every label is listed."
    )

    @property
    def by_class(self) -> bool:
        """Return whether each class has its own distribution."""
        return True

    @model_validator(mode="after")
    def _one_type(self) -> PerClass:
        if not self.per_class:
            raise ValueError("per_class is empty; name at least one label")
        self.type()
        return self

    def parts(self) -> list[Distribution]:
        """Return all its distributions."""
        return [*self.per_class.values(), *([self.default] if self.default else [])]

    def of(self, label: str) -> Distribution | None:
        """Return the distribution of a class, or None."""
        return self.per_class.get(label, self.default)

    def describe(self) -> str:
        """Describe up to three classes and the rest."""
        shown = [f"{label}: {one.describe()}" for label, one in list(self.per_class.items())[:3]]
        if len(self.per_class) > 3:
            shown.append(f"{len(self.per_class) - 3} more classes")
        if self.default:
            shown.append(f"else {self.default.describe()}")
        return "; ".join(shown)

    def bounds(self) -> tuple[float, float]:
        """Return the lowest and highest number of any class."""
        ends = [part.bounds() for part in self.parts()]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def values(self) -> list[Any] | None:
        """Return the distinct values of all classes, or None if there are too many to list."""
        listed = [part.values() for part in self.parts()]
        if any(one is None for one in listed):
            return None
        return list(dict.fromkeys(value for one in listed for value in one or ()))

    def type(self) -> ValueType:
        """Return the column type that holds the values of all classes.

        Raises:
            ValueError: They mix texts, numbers and booleans.
        """
        return joint_type([part.type() for part in self.parts()])


class Once(Distribution):
    """One value for the whole config, the same for every image: `{once: {integers: [1, 5]}}`."""

    once: AnyDistribution = Field(
        description="Distribution to sample once; it depends on the seed."
    )

    def sample(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Return one value per uniform number."""
        return self.once.sample(uniforms, numbers)

    def describe(self) -> str:
        """Describe the distribution."""
        return f"once for all images: {self.once.describe()}"

    def bounds(self) -> tuple[float, float]:
        """Return the lowest and highest possible number."""
        return self.once.bounds()

    def values(self) -> list[Value] | None:
        """Return the possible values, or None if there are too many to list."""
        return self.once.values()

    def type(self) -> ValueType:
        """Return the column type of the value."""
        return self.once.type()


class Linked(Frozen):
    """Variables sampled together, one row of values at a time."""

    linked: tuple[str, ...] = Field(description="Names of the variables, at least two.")
    values: tuple[tuple[Scalar, ...], ...] = Field(
        description="Rows with one value per variable; all rows are equally likely."
    )

    @model_validator(mode="after")
    def _rectangular(self) -> Linked:
        if len(self.linked) < 2:
            raise ValueError("linked needs at least two names; write a single variable as a list")
        if len(set(self.linked)) < len(self.linked):
            raise ValueError("linked contains a variable twice; remove one")
        if not self.values:
            raise ValueError("values is empty; write at least one row")
        for number, row in enumerate(self.values, start=1):
            if len(row) != len(self.linked):
                raise ValueError(
                    f"row {number} of values has {len(row)} values for {len(self.linked)} names "
                    f"({', '.join(self.linked)}); write one each"
                )
        for name, column in zip(self.linked, zip(*self.values, strict=True), strict=True):
            try:
                value_type(column)
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
        return self

    def column(self, name: str) -> Uniformly:
        """Return one variable's values as a distribution; all columns share their random number."""
        place = self.linked.index(name)
        return Uniformly(tuple(row[place] for row in self.values))

    def describe(self) -> str:
        """Name the variables and count the rows."""
        return f"{' and '.join(self.linked)} together, {len(self.values)} rows"


def joint_type(types: list[ValueType]) -> ValueType:
    """Return the column type that fits values of all these types.

    Raises:
        ValueError: There is no common type.
    """
    distinct = set(types)
    if len(distinct) == 1:
        return types[0]
    if distinct == {"int64", "float64"}:
        return "float64"
    raise ValueError(f"mixes {' and '.join(sorted(distinct))}; all classes need values of one type")


_ONE_COLUMN: dict[str, type[Frozen]] = {"per_class": PerClass, "once": Once}
_FURTHER: dict[str, type[Frozen]] = {**_ONE_COLUMN, "linked": Linked, "captions": Captions}
VARIABLE_KINDS: dict[str, type[Frozen]] = {**KINDS, **_FURTHER}
"""Kinds of variables by the key that names them."""


def quantity_kind(given: Any) -> str | None:
    """Return the tag of a value: as `kind_of`, or `@per_class`, `@once`, `@linked`, `@captions`."""
    return tag_of(given, _FURTHER) or kind_of(given)


if TYPE_CHECKING:
    Quantity = Distribution | PerClass
    Variable = Distribution | PerClass | Linked | Captions
else:
    Quantity = union_of(_ONE_COLUMN, quantity_kind)
    Variable = union_of(_FURTHER, quantity_kind)
