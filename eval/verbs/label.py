"""`eval label SRC OUT`: make a labelled dataset from captioned real images."""

from __future__ import annotations

import argparse
from pathlib import Path

from eval.verbs.arguments import label_map_of
from factory.common.console import write
from factory.common.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Selects the images whose captions name exactly one of the classes. Models trained on "
        "them are reference rows, not zero-shot results."
    )
    add = parser.add_argument
    add("source", metavar="SRC", help="dataset directory or Hub id")
    add("out", type=Path, metavar="OUT", help="new folder")
    add(
        "--classes",
        required=True,
        metavar="NAME,...",
        help="class names in label order; _ matches a space",
    )
    add(
        "--columns",
        default="name,general",
        metavar="NAME,...",
        help="columns to search (default: both)",
    )
    add(
        "--labels",
        type=Path,
        metavar="MAP",
        help="YAML or CSV file with more words per class, e.g. `sports car: automobile`",
    )
    add("--filter", metavar="EXPR", help="keep only matching rows, e.g. 'domain == \"photo\"'")
    add(
        "--skip-unreadable",
        action="store_true",
        help="skip images that cannot be read and report them",
    )


def run(args: argparse.Namespace) -> None:
    """Write the labelled dataset."""
    from eval.labelled import write_labelled

    classes, columns = (
        [one.strip() for one in text.split(",") if one.strip()]
        for text in (args.classes, args.columns)
    )
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise UserError(f"--classes {args.classes}: name at least two different classes")
    counts = write_labelled(
        args.source,
        args.out,
        classes=classes,
        columns=columns,
        row_filter=args.filter,
        skip_unreadable=args.skip_unreadable,
        labels=label_map_of(args),
    )
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    write(f"{args.out}: {sum(counts.values()):,} images ({told})")
