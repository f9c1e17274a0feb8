"""`eval digits OUT`: write real handwritten digits as a test set."""

import argparse
from pathlib import Path

from factory.common.console import write, write_json
from factory.common.options import add_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Write scikit-learn's load_digits as a dataset directory with the split test."
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder")
    add_json(parser, "out, images")


def run(args: argparse.Namespace) -> None:
    """Write the dataset."""
    from eval.digits import write_digits

    num_images = write_digits(args.out)
    if args.json:
        write_json({"out": str(args.out), "images": num_images})
        return
    write(f"{args.out}: {num_images:,} real digits, split test; score a run with --real {args.out}")
