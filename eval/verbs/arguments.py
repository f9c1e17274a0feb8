"""Options that several verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.errors import UserError

if TYPE_CHECKING:
    from eval.label_map import LabelMap


def positive(text: str) -> int:
    """Parse a whole number of 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def not_negative(text: str) -> int:
    """Parse a whole number of 0 or more."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def add_rows(parser: argparse._ActionsContainer, *, of: str) -> None:
    """Add the options that say which rows of a dataset, and where their images are."""
    parser.add_argument("--config", help=f"config of {of} (default: its default)")
    parser.add_argument("--split", help=f"split of {of} (default: test, else the only one)")
    parser.add_argument(
        "--filter", metavar="EXPR", help="keep only these rows, e.g. 'place == \"sea\"'"
    )
    parser.add_argument("--image-column", metavar="NAME")


def add_real(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which real images."""
    parser.add_argument("--real", required=True, metavar="DATASET", help="directory or Hub id")
    add_rows(parser, of="the real set")
    parser.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="leave out images that cannot be read, and count them in the output file",
    )
    parser.add_argument("--label-column", metavar="NAME")
    parser.add_argument(
        "--real-name",
        metavar="NAME",
        help="name of the real set in files and tables (default: made of folder, config and split)",
    )


def add_fit(parser: argparse.ArgumentParser) -> None:
    """Add the option that says what is done with images that are not square."""
    parser.add_argument(
        "--fit",
        choices=("crop", "pad", "squash"),
        help="images that are not square: crop their middle (default; pad for models that were "
        "trained with borders), pad them with borders, or squash them",
    )


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Add the option that translates real labels."""
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="MAP",
        help="YAML or CSV file that names the model's class for real labels it calls otherwise; "
        "several labels may share a class",
    )


def label_map_of(args: argparse.Namespace) -> LabelMap | None:
    """Read the map that `--labels` names, if it does."""
    from eval.label_map import read_labels

    return read_labels(args.labels) if args.labels else None


def add_process(parser: argparse.ArgumentParser, *, batch_size: int = 256) -> None:
    """Add the options that say how a model is run."""
    parser.add_argument(
        "--batch-size", type=positive, default=None, help=f"a process (default: {batch_size})"
    )
    parser.add_argument(
        "--threads",
        type=positive,
        default=1,
        help="CPU threads a process (default: 1; the last digits of float32 depend on it)",
    )


def check_file(option: str, path: Path | None) -> None:
    """Find what can't be written before an hour of work, not after.

    Raises:
        UserError: `path` is a folder, or lies in none.
    """
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise UserError(f"{option} {path}: is no file in an existing folder; choose another")
