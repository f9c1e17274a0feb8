"""`factory new`: create a folder of recipes for your own classes."""

from __future__ import annotations

import argparse
from pathlib import Path

from factory.common.console import log, write
from factory.common.program import command
from factory.recipe.library import load_recipes
from factory.recipe.lint import lint
from factory.recipe.scaffold import parse_classes, scaffold


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


def run(args: argparse.Namespace) -> None:
    """Write the folder and check it.

    Raises:
        UserError: The folder exists, or the classes or the model are invalid.
    """
    classes = parse_classes(args.classes)
    paths = scaffold(args.name, classes=classes, out=args.out, model=args.model)
    folder = paths[0].parent
    for path in paths:
        write(str(path))
    for warning in lint(load_recipes(folder)):
        log(f"warning: {warning}")
    log(f"next: {command(f'plan {folder}')}")
