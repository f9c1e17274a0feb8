"""`factory recipes`: the recipes that ship with the package."""

from __future__ import annotations

import argparse

from factory.console import table, write
from factory.errors import UserError
from factory.library import list_recipes, load_recipe
from factory.recipe_paths import find_recipe

NAME = "recipes"
HELP = "List the packaged recipes, or show one."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="names and summaries")
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
    elif args.resolved:
        write(load_recipe(args.name).to_yaml().rstrip("\n"))
    else:
        path = find_recipe(args.name)
        if path.is_dir():
            raise UserError(f"{args.name} is a folder of recipes; name one of them")
        write(path.read_text(encoding="utf-8").rstrip("\n"))
