"""`factory new`: create a folder of recipes for your own classes."""

from __future__ import annotations

import argparse
from pathlib import Path

from factory.common.console import log, write
from factory.recipe.library import load_recipes
from factory.recipe.lint import lint
from factory.recipe.scaffold import parse_classes, parse_subtypes, scaffold
from factory.recipe.styles import STYLES

NAME = "new"
HELP = "Create a folder of ready recipes from class names."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="name of the folder")
    parser.add_argument(
        "--classes",
        required=True,
        metavar='"A, B, C"',
        help="comma-separated class names; labels use _ for spaces, prompts use the names as typed",
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="parent folder (default: .)"
    )
    parser.add_argument(
        "--model", metavar="ID[@REV]", help="preset name, Hub id or directory (default: embedded)"
    )
    parser.add_argument(
        "--style",
        choices=tuple(STYLES),
        default="photo",
        help="prompts and domains for this kind of image (default: photo)",
    )
    parser.add_argument(
        "--subtypes",
        action="append",
        default=[],
        metavar="CLASS=A,B",
        help="add a config whose prompts name subtypes, e.g. bird=goose,duck; may be repeated",
    )


def run(args: argparse.Namespace) -> None:
    """Write the folder and check it.

    Raises:
        UserError: The folder exists, or the classes or the model are invalid.
    """
    classes = parse_classes(args.classes)
    paths = scaffold(
        args.name,
        classes=classes,
        out=args.out,
        model=args.model,
        style=args.style,
        subtypes=parse_subtypes(args.subtypes, classes=classes),
    )
    folder = paths[0].parent
    for path in paths:
        write(str(path))
    for warning in lint(load_recipes(folder)):
        log(f"warning: {warning}")
    log(f"next: factory plan {folder} (more in {folder}/README.md)")
