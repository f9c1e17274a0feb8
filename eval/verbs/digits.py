"""`eval digits OUT`: writes real handwritten digits as a test set."""

from __future__ import annotations

import argparse
from pathlib import Path

from factory.common.console import write

NAME = "digits"
HELP = "write 1,797 real handwritten digits as a test set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.description = "Writes scikit-learn's load_digits as a dataset directory with split test."
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder")


def run(args: argparse.Namespace) -> None:
    """Write them."""
    from eval.digits import write_digits

    num_images = write_digits(args.out)
    write(
        f"{args.out}: {num_images:,} real digits, split test; score on them with --real {args.out}"
    )
