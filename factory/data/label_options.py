"""Options for class names that do not match: a label map, and the file of a suggested one."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.console import log
from factory.common.errors import UserError
from factory.common.options import check_file, option

if TYPE_CHECKING:
    from factory.data.label_map import LabelMap


def add_labels(
    parser: argparse._ActionsContainer, what: str = "real labels to those of the model"
) -> None:
    """Add the option that maps labels to class names; `what` is mapped to what."""
    option(
        parser,
        "--labels MAP",
        f"YAML or CSV file that maps labels to class names: {what}; several labels may map to one "
        "class",
        Path,
    )


def add_suggestion(parser: argparse._ActionsContainer) -> None:
    """Add the option that writes a label map to start from."""
    option(
        parser,
        "--suggest-labels FILE",
        "if class names do not match, write the suggested label map into this new YAML file",
        Path,
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
    """Write the suggested map if class names do not match; the error remains and names the file."""
    from factory.common.whole_files import replace_text
    from factory.data.label_map import UnmatchedLabelsError, map_lines

    try:
        yield
    except UnmatchedLabelsError as error:
        path = args.suggest_labels
        # Of several runs, the first one that does not match counts.
        if not writes or path is None or path.exists():
            raise
        head = f"# Check each line and replace each ?, then pass --labels {path.name}\n"
        replace_text(path, head + map_lines(error.suggested))
        log(f"wrote {path}: a label map to check and complete")
        shown = shlex.quote(str(path))
        raise error.advising(f"check {shown} and pass it with --labels {shown}") from None


def label_map_of(args: argparse.Namespace) -> LabelMap | None:
    """Read the label map of `--labels`; None without the option."""
    from factory.data.label_map import read_labels

    return read_labels(args.labels) if args.labels else None
