"""`factory new`: a folder of recipes for classes of your own."""

from __future__ import annotations

import argparse
from pathlib import Path

from factory.common.console import log, write
from factory.recipe.library import load_recipes
from factory.recipe.lint import lint
from factory.recipe.scaffold import parse_classes, scaffold

NAME = "new"
HELP = "Write a ready folder of recipes from class names."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("name", metavar="NAME", help="name of the folder")
    parser.add_argument(
        "--classes",
        required=True,
        metavar='"A, B, C"',
        help="class names; in labels spaces become _, prompts keep them as typed",
    )
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where it is made")
    parser.add_argument(
        "--model", metavar="ID[@REV]", help="Hub id, directory or `embedded` (the default)"
    )


def run(args: argparse.Namespace) -> None:
    """Write the folder and check it.

    Raises:
        UserError: The folder exists, or the classes or the model make no recipe.
    """
    classes = parse_classes(args.classes)
    paths = scaffold(args.name, classes=classes, out=args.out, model=args.model)
    folder = paths[0].parent
    for path in paths:
        write(str(path))
    for warning in lint(load_recipes(folder)):
        log(f"warning: {warning}")
    log(f"next: factory plan {folder}")
