"""Values for a card's template that follow from the recipes alone."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from factory.card.licences import licence_of, note_of
from factory.common.text import some
from factory.planner.cost import Cost, duration, estimate
from factory.planner.sampling_summary import sampling_texts, stored_summary
from factory.recipe.resolved import ResolvedRecipe

_MANY = 5
# The `source` of the packaged recipes; sections of other papers come with their name.
_PAPER_SOURCE = re.compile(r"sections? \d")


def title(labels: Sequence[str]) -> str:
    """Return a title made of class names, since directory names change with every copy."""
    return f"Synthetic images: {some([label.replace('_', ' ') for label in labels])}"


def contents(
    recipes: Sequence[ResolvedRecipe],
    images: Mapping[str, int],
    *,
    sampling: Mapping[str, Mapping[str, Any] | None],
) -> dict[str, Any]:
    """Return the template values that follow from recipes.

    Args:
        recipes: All configs, in the card's order.
        images: Number of rows of each config, by name.
        sampling: Recorded sampling settings of each config, by name.
    """
    generated = [recipe for recipe in recipes if not recipe.is_combination]
    labels, names = recipes[0].labels, {recipe.name for recipe in generated}
    return {
        "labels": list(labels),
        "variables": sorted({name for recipe in recipes for name in recipe.variable_types}),
        "gates": [],
        "configs": [_config_row(recipe, images[recipe.name]) for recipe in recipes],
        "combinations": [
            {"name": recipe.name, "text": _combination(recipe)}
            for recipe in recipes
            if recipe.is_combination
        ],
        "distributions": [
            {"config": recipe.name, "variable": name, "text": variable.describe()}
            for recipe in generated
            for name, variable in sorted(recipe.variables.items())
        ],
        "sampling": [
            {"config": recipe.name, "fingerprint": recipe.fingerprint[:16]}
            | sampling_texts(recipe, sampling.get(recipe.name) or stored_summary(recipe))
            for recipe in generated
        ],
        "models": [
            {"id": name, "licence": licence_of(name), "note": note_of(name)}
            for name in model_ids(generated)
        ],
        # Twins of another config are generated with it.
        "cost": _cost([estimate(one) for one in generated if one.same_images_as not in names]),
        "follows_paper": any(_PAPER_SOURCE.match(recipe.source) for recipe in recipes),
    }


def model_ids(recipes: Sequence[ResolvedRecipe]) -> list[str]:
    """Return the models and adapters of some recipes, without duplicates."""
    generated = [recipe.model for recipe in recipes if not recipe.is_combination]
    names = [[model.id, *(adapter.id for adapter in model.adapters)] for model in generated]
    return list(dict.fromkeys(name for own in names for name in own))


def _config_row(recipe: ResolvedRecipe, images: int) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "images": images,
        "images_per_class": _per_class(recipe, images),
        "summary": recipe.summary,
        "source": recipe.source,
        "prompt": "" if recipe.is_combination else _prompts(recipe),
    }


def _per_class(recipe: ResolvedRecipe, images: int) -> str:
    if recipe.rows and recipe.images_per_class is None:
        return f"{min(recipe.class_counts)} to {max(recipe.class_counts)}"
    return str(images // len(recipe.labels))


def _prompts(recipe: ResolvedRecipe) -> str:
    total = sum(one.weight for one in recipe.prompt)
    if len(recipe.prompt) == 1:
        return recipe.prompt[0].text
    shown = [f"{one.text} ({one.weight / total:.0%})" for one in recipe.prompt[:_MANY]]
    more = [f"and {len(recipe.prompt) - _MANY} more"] if len(recipe.prompt) > _MANY else []
    return "; ".join([*shown, *more])


def _combination(recipe: ResolvedRecipe) -> str:
    members = ", ".join(f"`{member}`" for member in recipe.combine or ())
    if recipe.is_union:
        return f"contains all images of {members} (it reads their files)."
    if recipe.rows:
        return f"contains copies of rows of {members}, chosen one by one (`rows` in its recipe)."
    return f"contains copies of rows of {members}, the same number from each."


def _cost(costs: Sequence[Cost]) -> str:
    """Return the cost of all configs together."""
    calls = sum(cost.calls for cost in costs)
    images = sum(cost.images for cost in costs)
    text = f"{calls:,} network evaluations for {images:,} images"
    speeds = {cost.speed for cost in costs}
    speed = next(iter(speeds)) if len(speeds) == 1 else None
    if speed is None:
        return text
    seconds = calls * speed.seconds_per_call
    return f"{text}, about {duration(seconds)} on {speed.device} (speed {speed.source})"
