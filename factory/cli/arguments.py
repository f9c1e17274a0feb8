"""The arguments that choose and change recipes, the same for every verb that takes a recipe."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from factory.common.console import log
from factory.recipe.known_words import unknown_words
from factory.recipe.library import load_recipes
from factory.recipe.resolved import ResolvedRecipe

RECIPE_HELP = (
    "recipe file, folder of recipes, packaged name such as quickstart/base-class, or one on the "
    "Hub: hf://datasets/ORG/NAME[@REVISION][/PATH]"
)


def add_recipe_changes(parser: argparse.ArgumentParser) -> None:
    """Add --images-per-class and what `add_sampling_changes` adds."""
    parser.add_argument(
        "--images-per-class", type=int, metavar="N", help="instead of the recipes' own number"
    )
    add_sampling_changes(parser)


def add_sampling_changes(parser: argparse.ArgumentParser) -> None:
    """Add --model, --sampling and --set."""
    parser.add_argument(
        "--model",
        metavar="ID[@REV]",
        help="another model with its own scheduler and size: a name of `factory recipes models` "
        "such as sdxl, Hub id, or directory; guidance and steps stay as the recipe says",
    )
    parser.add_argument(
        "--sampling",
        choices=("recipe", "model"),
        default="recipe",
        help="model: use the model's own guidance and steps wherever the recipe has plain numbers; "
        "distributions stay (default: recipe)",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a key, e.g. sampling.guidance_scale=2; may be given several times",
    )


def add_allow_pickle(parser: argparse.ArgumentParser) -> None:
    """Add --allow-pickle, for the verbs that load models."""
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="read a model that has no safetensors from pickled weights (tensors only, no code)",
    )


def add_allow_cut_prompts(parser: argparse.ArgumentParser) -> None:
    """Add --allow-cut-prompts, for the verbs that refuse prompts which a model reads in part."""
    parser.add_argument(
        "--allow-cut-prompts",
        action="store_true",
        help="accept prompts so long that a class name or the value of a variable is cut off",
    )


def recipes_of(args: argparse.Namespace, reference: str) -> list[ResolvedRecipe]:
    """Load what `reference` means, with the command line's changes.

    Raises:
        UserError: Everything that is wrong with the recipes, at once.
    """
    return load_recipes(
        reference,
        overrides=args.overrides,
        images_per_class=args.images_per_class,
        model=args.model,
        sampling=args.sampling,
    )


def warn_of_unknown_words(recipes: Iterable[ResolvedRecipe]) -> None:
    """Log which words of the prompts, members' included, their model was never told."""
    pending = list(recipes)
    warnings = {}
    while pending:
        recipe = pending.pop(0)
        pending += recipe.members
        warnings.update(dict.fromkeys(unknown_words(recipe)))
    for warning in warnings:
        log(f"warning: {warning}")
