"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.options import (
    FIT_HELP,
    add_batch_size,
    add_device,
    add_quiet,
    add_rows,
    add_skip_unreadable,
    add_threads,
)

if TYPE_CHECKING:
    from eval.label_map import LabelMap
    from eval.real import RealImages


def add_real(parser: argparse.ArgumentParser, *, prefix: str = "") -> None:
    """Add the options that choose the real images.

    Args:
        parser: The parser of the command.
        prefix: `real-` if the command reads another dataset too.
    """
    parser.add_argument(
        "--real", required=True, metavar="DATASET", help="real dataset, directory or Hub id"
    )
    add_rows(parser, prefix=prefix, of="the real dataset" if prefix else "the dataset")
    add_skip_unreadable(parser)
    parser.add_argument(
        "--real-name",
        metavar="NAME",
        help="name of the real dataset in files and tables (default: folder, config and split)",
    )


def open_real_of(args: argparse.Namespace, *, prefix: str = "", shows: bool = True) -> RealImages:
    """Open the images that the options of `add_real` choose; see `eval.real.open_real`."""
    from eval.real import open_real

    names = ("config", "split", "filter", "image_column", "label_column")
    config, split, row_filter, image_column, label_column = (
        getattr(args, prefix + name) for name in names
    )
    return open_real(
        args.real,
        config_name=config,
        split=split,
        row_filter=row_filter,
        image_column=image_column,
        label_column=label_column,
        name=args.real_name,
        skip_unreadable=args.skip_unreadable,
        shows=shows,
    )


def add_fit(parser: argparse.ArgumentParser) -> None:
    """Add the option for images that are not square."""
    parser.add_argument(
        "--fit",
        choices=("crop", "pad", "squash"),
        help=f"{FIT_HELP} (default: as the model was trained, else crop)",
    )


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Add the option that maps real labels to model classes."""
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="MAP",
        help="YAML or CSV file that maps labels to class names: real labels to those of the model; "
        "several labels may map to one class",
    )


def label_map_of(args: argparse.Namespace) -> LabelMap | None:
    """Read the label map of `--labels`; None without the option."""
    from eval.label_map import read_labels

    return read_labels(args.labels) if args.labels else None


def add_process(parser: argparse.ArgumentParser, *, batch_size: int = 256) -> None:
    """Add the options that control inference."""
    add_batch_size(parser, batch_size)
    add_threads(parser)
    add_device(parser)
    add_quiet(parser)
