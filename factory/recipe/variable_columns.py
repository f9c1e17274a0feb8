"""The columns that variables and class fields add to a config's rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from factory.distributions.base import Distribution
from factory.distributions.variables import Linked, PerClass, Variable
from factory.recipe.schema import ClassEntry


@dataclass(frozen=True)
class Column:
    """A variable of the rows."""

    name: str
    stream: str
    quantity: Distribution | PerClass


def own_columns(
    variables: Mapping[str, Variable], classes: Sequence[ClassEntry]
) -> dict[str, Column]:
    """Return the variable columns of a config's own images, by name."""
    columns: dict[str, Column] = {}
    for name, variable in variables.items():
        stream = f"variables.{name}"
        if isinstance(variable, Linked):
            for one in variable.linked:
                columns[one] = Column(one, stream, variable.column(one))
        else:
            columns[name] = Column(name, stream, variable)
    for name, own in fields_of(classes).items():
        columns[name] = _with_fields(name, own, columns.get(name))
    return columns


def fields_of(classes: Sequence[ClassEntry]) -> dict[str, dict[str, Distribution]]:
    """Return the classes' own fields: by name, then by label."""
    found: dict[str, dict[str, Distribution]] = {}
    for entry in classes:
        for name, quantity in entry.fields.items():
            found.setdefault(name, {})[entry.label] = quantity
    return found


def _with_fields(name: str, own: dict[str, Distribution], variable: Column | None) -> Column:
    """Return a column in which the classes' own fields override the recipe's variable."""
    stream = variable.stream if variable else f"variables.{name}"
    quantity = variable.quantity if variable else None
    if isinstance(quantity, PerClass):
        own = {**quantity.per_class, **own}
        quantity = quantity.default
    # Not validated: a type conflict is reported elsewhere, with its location.
    return Column(name, stream, PerClass.model_construct(per_class=own, default=quantity))
