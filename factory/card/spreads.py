"""Count the values of guidance, steps and variables, for the plots of a card.

Everything is counted in the plan, so the cost does not grow with the dataset, and the result
depends only on recipes and counts.
"""

from collections.abc import Sequence

from factory.card.plots import Named, Ridges, Spread
from factory.data.dependent_columns import dependent_columns
from factory.distributions.template import Value
from factory.planner.plan import plan
from factory.recipe.resolved import ResolvedRecipe

SAMPLE = 2000
"""Number of images per config that are counted, from its beginning."""

_MAX_PANELS = 8


def spreads(recipes: Sequence[ResolvedRecipe]) -> tuple[Ridges, Named]:
    """Return guidance and steps of every config, then the variables that some configs vary.

    Technical variables, such as the article of a class name, are left out.
    """
    rows = {recipe.name: plan(recipe).rows(0, min(SAMPLE, recipe.num_images)) for recipe in recipes}
    numbers: Ridges = []
    for name in ("guidance_scale", "num_inference_steps"):
        found = [
            Spread((config,), tuple(getattr(row, name) for row in own))
            for config, own in rows.items()
        ]
        if len({value for one in found for value in one.values}) > 1:
            numbers.append((name.replace("_", " "), found))
    grouped: dict[tuple[str, tuple[Value | None, ...]], list[str]] = {}
    for recipe in recipes:
        own = rows[recipe.name]
        technical = dependent_columns(
            {one.name: [row.variables[one.name] for row in own] for one in recipe.columns},
            [row.label for row in own],
        )
        for column in recipe.columns:
            if column.name in technical:
                continue
            sampled = tuple(row.variables[column.name] for row in rows[recipe.name])
            # Compared by distribution and distinct values: single values differ between configs.
            key = (column.name, (column.quantity.describe(), *sorted(set(map(str, sampled)))))
            grouped.setdefault(key, []).append(recipe.name)
    named = [
        (name, Spread(tuple(configs), tuple(row.variables[name] for row in rows[configs[0]])))
        for (name, _), configs in grouped.items()
    ]
    return numbers, [one for one in named if one[1].varies][:_MAX_PANELS]
