"""`factory recipes`: the recipes that ship with the package."""

from __future__ import annotations

import argparse

from factory.console import table, write
from factory.errors import UserError
from factory.library import list_recipes, load_recipe
from factory.model_presets import PRESETS, ModelPreset
from factory.recipe_paths import find_recipe

NAME = "recipes"
HELP = "List the packaged recipes or the models known by name, or show a recipe."


_MODEL_HEADER = ("name", "model", "steps", "guidance", "pixels", "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="names and summaries")
    actions.add_parser("models", help="the models that --model knows by name")
    show = actions.add_parser("show", help="the text of one")
    show.add_argument("name", metavar="NAME", help="e.g. quickstart/base-class, or a file")
    show.add_argument(
        "--resolved", action="store_true", help="with everything filled in, as it would be built"
    )


def run(args: argparse.Namespace) -> None:
    """List the recipes, or show one.

    Raises:
        UserError: There is no such recipe, or it has faults.
    """
    if args.action == "list":
        rows = [(entry.name, entry.summary) for entry in list_recipes()]
        write(table(rows, header=("recipe", "summary")))
    elif args.action == "models":
        write(table([_model(one) for one in PRESETS], header=_MODEL_HEADER))
    elif args.resolved:
        write(load_recipe(args.name).to_yaml().rstrip("\n"))
    else:
        path = find_recipe(args.name)
        if path.is_dir():
            raise UserError(f"{args.name} is a folder of recipes; name one of them")
        write(path.read_text(encoding="utf-8").rstrip("\n"))


def _model(preset: ModelPreset) -> tuple[str, ...]:
    return (
        preset.name,
        preset.id,
        str(preset.num_inference_steps),
        f"{preset.guidance_scale:g}",
        str(preset.size or "its own"),
        preset.note,
    )
