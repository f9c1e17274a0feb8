"""`eval label SRC OUT`: make a labelled dataset from captioned real images."""

import argparse
from dataclasses import asdict
from functools import partial
from pathlib import Path

from factory.common.console import renamed, write, write_json
from factory.common.errors import UserError
from factory.common.options import add_json, add_quiet, add_skip_unreadable, option
from factory.common.text import plural
from factory.data.label_options import label_map_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Select the images whose captions name exactly one of the classes. Models trained on "
        "them are reference rows, not zero-shot results."
    )
    add = partial(option, parser)
    parser.add_argument("source", metavar="SRC", help="dataset directory or Hub id")
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder")
    add(
        "--class NAME",
        "class name; repeat for each class, in label order. _ matches a space",
        meaning="class name",
        dest="classes",
        required=True,
        many=True,
    )
    renamed(parser, "--classes", "--class", had_commas=True)
    add(
        "--caption-column NAME",
        "column of captions; may be repeated (default: name and general)",
        dest="columns",
        many=True,
    )
    renamed(parser, "--columns", "--caption-column", had_commas=True)
    add(
        "--labels MAP",
        "YAML or CSV file that maps labels to class names: words of captions, e.g. "
        "`sports car: automobile`",
        Path,
    )
    add("--filter EXPR", "keep only matching rows of the dataset; e.g. 'domain == \"photo\"'")
    add_skip_unreadable(parser)
    add_json(parser, "out, images (of each class), rows, none, several, unreadable")
    add_quiet(parser)


def run(args: argparse.Namespace) -> None:
    """Write the labelled dataset."""
    from eval.labelled import write_labelled

    classes = args.classes
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise UserError(f"--class {', '.join(classes)}: name at least two different classes")
    found = write_labelled(
        args.source,
        args.out,
        classes=classes,
        columns=args.columns or ["name", "general"],
        row_filter=args.filter,
        skip_unreadable=args.skip_unreadable,
        labels=label_map_of(args),
    )
    if args.json:
        write_json({"out": str(args.out), **asdict(found)})
        return
    listed = ", ".join(f"{name} {count:,}" for name, count in found.images.items())
    write(f"{args.out}: {plural(sum(found.images.values()), 'image')} ({listed})")
    write(
        f"{plural(found.rows, 'row')} read: {found.none:,} without a class, {found.several:,} with "
        f"several; {plural(found.unreadable, 'image')} cannot be read"
    )
