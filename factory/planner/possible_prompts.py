"""All prompts that a config can have, if they are few.

A check of these needs no plan, and so no numpy, whose import takes 0.2 to 0.3 s of CPU time.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from factory.distributions.template import shown, template_of
from factory.distributions.variables import PerClass

if TYPE_CHECKING:
    from factory.distributions.base import Distribution
    from factory.recipe.resolved import ResolvedRecipe

_MANY = 1_000


def possible_prompts(recipe: ResolvedRecipe) -> set[str] | None:
    """Return texts among which are all prompts and negative prompts of a plan.

    Values are combined freely, so texts that no image gets may be among them.

    Args:
        recipe: Recipe of a config with its own prompts.

    Returns:
        None if there may be more than 1,000.
    """
    values = _values(recipe)
    texts: set[str] = set()
    for template in {one.text for one in recipe.prompt} | {recipe.negative_prompt}:
        texts |= (found := _filled(template, values)) or set()
        if found is None or len(texts) > _MANY:
            return None
    return texts


def _values(recipe: ResolvedRecipe) -> dict[str, list[str] | None]:
    """Return the texts of each name's values; None for a name with too many."""
    wordings = {one.label: one.prompt for one in recipe.classes}
    return {
        "class": _texts(PerClass.model_construct(per_class=wordings, default=None)),
        "label": list(recipe.labels),
        **{column.name: _texts(column.quantity) for column in recipe.columns},
    }


def _texts(quantity: Distribution | PerClass) -> list[str] | None:
    values = quantity.values()
    if values is not None and quantity.type() == "float64":
        # As in a plan, where one float makes a column's integers floats.
        values = [float(value) for value in values]
    return None if values is None else [shown(value) for value in values]


def _filled(template: str, values: Mapping[str, list[str] | None]) -> set[str] | None:
    parsed = template_of(template)
    listed = [values[name] for name in parsed.names]
    given = [one for one in listed if one is not None]
    if len(given) < len(listed) or prod(map(len, given)) > _MANY:
        return None
    rows = [*product(*given)]
    columns = dict(zip(parsed.names, zip(*rows, strict=True), strict=False))
    return set(parsed.fill(columns, count=len(rows)))
