"""`factory new`: create a folder of recipes for your own classes."""

import argparse
from functools import partial
from pathlib import Path

from factory.common.console import log, renamed, write
from factory.common.errors import without_repeats
from factory.common.options import add_out, option
from factory.common.program import command
from factory.recipe.library import load_recipes
from factory.recipe.lint import lint
from factory.recipe.scaffold import class_names, parse_subtypes, scaffold
from factory.recipe.styles import STYLES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="name of the folder")
    add = partial(option, parser)
    add(
        "--class NAME",
        "class name; repeat for each class. Spaces become _ in the label; prompts use the name as "
        "typed",
        meaning="class name",
        dest="classes",
        required=True,
        many=True,
    )
    renamed(parser, "--classes", "--class", had_commas=True)
    add_out(parser, "DIR", "the new folder NAME (default: .)", default=Path())
    add(
        "--model ID[@REVISION]",
        f"a name from `{command('models')}`, Hub id, or directory (default: embedded)",
    )
    add(
        "--style",
        "prompts and domains for this kind of image (default: photo)",
        choices=tuple(STYLES),
        default="photo",
    )
    add(
        "--subtypes CLASS=A,B",
        "add a config whose prompts name subtypes, e.g. bird=goose,duck; may be repeated",
        many=True,
    )


def run(args: argparse.Namespace) -> None:
    """Write the folder and check it."""
    classes = class_names(args.classes)
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
    for warning in without_repeats(lint(load_recipes(folder))):
        log(f"warning: {warning}")
    log(f"next: {command(f'plan {folder}')} (more in {folder}/README.md)")
