"""Options that several commands share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.console import log
from factory.common.errors import UserError

if TYPE_CHECKING:
    from eval.label_map import LabelMap

AUTO = "auto"
DATASET = "dataset directory, folder of photos, CSV or Parquet file, or Hub id"


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
    """Add the options that choose the real images."""
    parser.add_argument("--real", required=True, metavar="DATASET", help=DATASET)
    add_rows(parser, of="the real set")
    parser.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="skip images that cannot be read and count them in the output file",
    )
    parser.add_argument("--label-column", metavar="NAME")
    parser.add_argument(
        "--real-name",
        metavar="NAME",
        help="name of the real dataset in files and tables (default: folder, config and split)",
    )


def add_fit(parser: argparse.ArgumentParser) -> None:
    """Add the option for images that are not square."""
    parser.add_argument(
        "--fit",
        choices=("crop", "pad", "squash"),
        help="images that are not square: crop their middle, pad them with borders, or squash them "
        "(default: as the model was trained, else crop)",
    )


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Add the option that maps real labels to model classes."""
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="MAP",
        help="YAML or CSV file that maps real labels to the model's class names; several labels "
        "may map to one class",
    )


def add_threshold(parser: argparse.ArgumentParser, *, auto: str) -> None:
    """Add the options that choose the threshold of "none of these".

    Args:
        parser: Of the command.
        auto: Help for `--threshold auto`.
    """
    group = parser.add_argument_group("none of these")
    group.add_argument(
        "--threshold",
        type=_threshold,
        default=None,
        metavar="P|auto|off",
        help=f'answer "none of these" if the probability is below P; {auto} (default: off)',
    )
    group.add_argument("--data", metavar="DATASET", help="auto: the run's own training data")


def _threshold(text: str) -> float | str | None:
    """Parse a probability, `auto` or `off`."""
    if text == "off":
        return None
    if text == AUTO:
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no probability from 0 to 1, auto or off")
    return value


def check_threshold(args: argparse.Namespace) -> None:
    """Reject `--data` where nothing reads it.

    Raises:
        UserError: The threshold is not `auto`.
    """
    if args.data is not None and args.threshold != AUTO:
        raise UserError(f"--data {args.data} is read by --threshold auto only; add it")


def add_suggestion(parser: argparse.ArgumentParser) -> None:
    """Add the option that writes a label map to start from."""
    parser.add_argument(
        "--suggest-labels",
        type=Path,
        metavar="FILE",
        help="if class names do not match, write the suggested label map into this new YAML file",
    )


def check_suggestion(args: argparse.Namespace) -> None:
    """Refuse to replace a file that the user may have edited.

    Raises:
        UserError: It exists, or its folder does not.
    """
    check_file("--suggest-labels", args.suggest_labels)
    if args.suggest_labels is not None and args.suggest_labels.exists():
        raise UserError(
            f"--suggest-labels {args.suggest_labels}: exists; name a new file, or pass this one "
            "with --labels"
        )


@contextmanager
def suggesting(args: argparse.Namespace, *, writes: bool = True) -> Iterator[None]:
    """Write the suggested map if class names do not match; the error remains.

    Args:
        args: Of a command with `add_suggestion`.
        writes: Whether this process writes it.
    """
    from eval.label_map import map_lines
    from eval.labels import UnmatchedLabelsError
    from factory.common.whole_files import replace_text

    try:
        yield
    except UnmatchedLabelsError as error:
        path = args.suggest_labels
        # Of several runs, the first one that does not match counts.
        if writes and path is not None and not path.exists():
            head = f"# Check each line and replace each ?, then pass --labels {path.name}\n"
            replace_text(path, head + map_lines(error.suggested))
            log(f"wrote {path}: a label map to check and complete")
        raise


def label_map_of(args: argparse.Namespace) -> LabelMap | None:
    """Read the label map of `--labels`; None without the option."""
    from eval.label_map import read_labels

    return read_labels(args.labels) if args.labels else None


def add_process(parser: argparse.ArgumentParser, *, batch_size: int = 256) -> None:
    """Add the options that control inference."""
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=None,
        help=f"images per process and step (default: {batch_size})",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        default=1,
        help="CPU threads per process (default: 1; rounding in float32 depends on it)",
    )


def check_file(option: str, path: Path | None) -> None:
    """Reject an output path that cannot be written, before the long computation starts.

    Raises:
        UserError: `path` is a folder, or its folder does not exist.
    """
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise UserError(
            f"{option} {path}: must be a file in an existing folder; choose another path"
        )
