"""Arguments that choose and change recipes, shared by all commands that take a recipe."""

import argparse
from collections.abc import Iterable, Iterator
from functools import partial

from factory.common.console import log
from factory.common.errors import without_repeats
from factory.common.options import option, positive
from factory.common.program import command
from factory.recipe.known_words import unknown_words
from factory.recipe.library import load_recipes
from factory.recipe.resolved import ResolvedRecipe

RECIPE_HELP = (
    "recipe file, folder of recipes, packaged name such as quickstart/base-class, or a Hub "
    "reference hf://datasets/ORG/NAME[@REVISION][/PATH]"
)


def add_recipe_changes(parser: argparse.ArgumentParser) -> None:
    """Add --images-per-class and the options of `add_sampling_changes`."""
    option(
        parser,
        "--images-per-class N",
        "images per class (default: the recipes' number)",
        positive,
        meaning="images of each class",
    )
    add_sampling_changes(parser)


def add_sampling_changes(parser: argparse.ArgumentParser) -> None:
    """Add --model, --sampling and --set."""
    add = partial(option, parser)
    add(
        "--model ID[@REVISION]",
        "generate with another model and its own scheduler and size: a name from "
        f"`{command('models')}` such as sdxl, Hub id, or directory; guidance and steps do not "
        "change",
    )
    add(
        "--sampling",
        "model: use the model's own guidance and steps if the recipe has plain numbers; "
        "distributions do not change (default: recipe)",
        choices=("recipe", "model"),
        default="recipe",
    )
    add(
        "--set KEY=VALUE",
        "override a recipe key, e.g. sampling.guidance_scale=2; may be repeated",
        dest="overrides",
        many=True,
    )


def add_allow_pickle(parser: argparse.ArgumentParser) -> None:
    """Add --allow-pickle, for the commands that load models."""
    option(
        parser,
        "--allow-pickle",
        "load pickled weights (tensors only, no code) if the model has no safetensors",
    )


def add_allow_local_model(parser: argparse.ArgumentParser) -> None:
    """Add --allow-local-model, for the commands that load the models of a dataset."""
    parser.add_argument(
        "--allow-local-model",
        action="store_true",
        help="load a model or adapter on this machine that the dataset's recipe names",
    )


def add_quantize(parser: argparse._ActionsContainer) -> None:
    """Add --quantize, for the commands that choose how a model computes."""
    option(
        parser,
        "--quantize KIND",
        "weights of the network in int8 or nf4 (4 bits, on a GPU); the rest keeps --dtype",
    )


def add_offload(parser: argparse._ActionsContainer) -> None:
    """Add --offload, for the commands that generate images of recipes."""
    option(
        parser,
        "--offload",
        "keep a model that is larger than the GPU's memory in main memory and move one model, or "
        "one layer (group, sequential), at a time",
        choices=("group", "model", "sequential"),
    )


def add_allow_cut_prompts(parser: argparse.ArgumentParser) -> None:
    """Add --allow-cut-prompts, for the commands that reject truncated prompts."""
    option(
        parser,
        "--allow-cut-prompts",
        "accept prompts whose class name or variable is beyond the model's token limit",
    )


def recipes_of(
    args: argparse.Namespace, reference: str, *, members: bool = True
) -> list[ResolvedRecipe]:
    """Load the recipes of `reference` with the command line's changes; see `load_recipes`.

    Raises:
        UserError: All errors of the recipes, at once.
    """
    return load_recipes(
        reference,
        overrides=args.overrides,
        images_per_class=args.images_per_class,
        model=args.model,
        sampling=args.sampling,
        members=members,
    )


def warn_of_unknown_words(recipes: Iterable[ResolvedRecipe]) -> None:
    """Log the words, members' included, that a recipe's model does not know."""
    found = (warning for recipe in _with_members(recipes) for warning in unknown_words(recipe))
    for warning in without_repeats(found):
        log(f"warning: {warning}")


def note_dropped_keys(recipes: Iterable[ResolvedRecipe]) -> None:
    """Log the settings of the recipes' models that --model or --set model.id removed."""
    dropped = {
        (recipe.model.id, key): None for recipe in _with_members(recipes) for key in recipe._dropped
    }
    for model in dict.fromkeys(model for model, _ in dropped):
        keys = " and ".join(key for of, key in dropped if of == model)
        log(f"{model}: the recipe's {keys} belong to its own model and are not used")


def _with_members(recipes: Iterable[ResolvedRecipe]) -> Iterator[ResolvedRecipe]:
    for recipe in recipes:
        yield recipe
        yield from _with_members(recipe.members)
