"""Options that commands share: one spelling and one meaning each."""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from factory.common.console import renamed
from factory.common.errors import UserError
from factory.common.text import expected_word, one_of
from factory.common.version import VERSION

FIT_HELP = "images that are not square: crop their centre, pad them with borders, or squash them"
_DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
PUSH_FIELDS = "repo_id, branch, url, commit, committed, tag, added, deleted, unchanged, sent_bytes"


def positive(text: str) -> int:
    """Parse a whole number of 1 or more."""
    return _at_least(1, text)


def not_negative(text: str) -> int:
    """Parse a whole number of 0 or more."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError("expected a whole number") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"expected {least} or more")
    return value


def device(text: str) -> str:
    """Parse a device: `auto`, a kind of device, or one of several, e.g. `cuda:1`."""
    kind, colon, number = text.partition(":")
    if kind not in _DEVICES:
        raise argparse.ArgumentTypeError(expected_word(text, _DEVICES))
    if colon and (kind == "auto" or not (number.isascii() and number.isdecimal())):
        raise argparse.ArgumentTypeError(
            f"expected {one_of(_DEVICES)}, or one of several such as cuda:1"
        )
    return text


def option(
    parser: argparse._ActionsContainer,
    name: str,
    text: str,
    parse: Callable[[str], Any] | None = None,
    *,
    many: bool = False,
    meaning: str = "",
    **settings: Any,
) -> None:
    """Add an option to a parser or a group.

    Args:
        parser: Where to add it.
        name: The option and the name of its value, e.g. `--epochs N`; an option without a value
            is False by default.
        text: Its help.
        parse: Converts the value.
        many: Whether it may be repeated; the result is a list then.
        meaning: What it means in every command, if the help is worded for this one.
        settings: Further arguments of `add_argument`.
    """
    word, _, metavar = name.partition(" ")
    if metavar:
        settings["metavar"] = metavar
    if many:
        settings |= {"action": "append", "default": []}
    elif not metavar and "choices" not in settings:
        settings["action"] = "store_true"
    if parse is not None:
        settings["type"] = parse
    action = parser.add_argument(word, help=text, **settings)
    # Options of one name with one meaning may have different helps; tests compare the meanings.
    setattr(action, "meaning", meaning)  # noqa: B010


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add --version."""
    parser.add_argument("--version", action="version", version=f"{parser.prog} {VERSION}")


def add_json(parser: argparse._ActionsContainer, fields: str) -> None:
    """Add --json: one document, and nothing else, on standard output.

    Args:
        parser: The parser of the command.
        fields: The keys of the document.
    """
    option(parser, "--json", f"print one JSON document instead of text: {fields}")


def add_quiet(parser: argparse._ActionsContainer, *, of_libraries: bool = True) -> None:
    """Add --quiet; `console.Parser` hides the bars.

    Args:
        parser: The parser of the command.
        of_libraries: Whether it hides those of huggingface_hub too. Its uploads over Xet count no
            bytes then.
    """
    option(parser, "--quiet", "no progress bars")
    parser.set_defaults(quiet_libraries=of_libraries)


def add_device(parser: argparse._ActionsContainer, default: str | None = "auto") -> None:
    """Add --device; without a default it is the dataset's."""
    option(
        parser,
        "--device DEVICE",
        f"{one_of(_DEVICES)} (default: {default or 'that of the dataset'})",
        device,
        default=default,
    )


def add_threads(
    parser: argparse._ActionsContainer,
    *,
    shown: object = "all cores",
    number: Callable[[str], int] = positive,
) -> None:
    """Add --threads, None by default; `shown` is the default in the help."""
    option(
        parser,
        "--threads N",
        f"CPU threads per process; rounding depends on it (default: {shown})",
        number,
    )


def add_batch_size(
    parser: argparse._ActionsContainer,
    shown: object,
    *,
    number: Callable[[str], Any] = positive,
) -> None:
    """Add --batch-size, None by default; `shown` is the default in the help."""
    option(parser, "--batch-size N", f"images per batch of each process (default: {shown})", number)


def add_seed(parser: argparse._ActionsContainer, of: str) -> None:
    """Add --seed."""
    text = f"seed of {of} (default: 0)"
    option(parser, "--seed N", text, not_negative, default=0, meaning="seed")


def add_out(
    parser: argparse._ActionsContainer,
    kind: Literal["FILE", "DIR"],
    what: str,
    **options: Any,
) -> None:
    """Add --out: the file to write, or the folder to write into; made if missing.

    Args:
        parser: The parser of the command.
        kind: Whether it is a file or a folder.
        what: What is written.
        options: Of `add_argument`.
    """
    where = "file to write" if kind == "FILE" else "folder to write into"
    option(parser, f"--out {kind}", f"{where}: {what}", Path, **options)


def check_file(option: str, path: Path | None) -> None:
    """Reject an output file that cannot be written, before a long computation starts.

    Raises:
        UserError: `path` is a folder, or one of the folders above it is a file.
    """
    if path is not None:
        if path.is_dir():
            raise UserError(f"{option} {path}: is a folder; name a file")
        check_folder(option, path.parent)


def check_image_file(option: str, path: Path | None) -> None:
    """Do the same for an image file.

    Raises:
        UserError: See `check_file`, or its suffix is not that of an image.
    """
    if path is not None and path.suffix.lower() not in _IMAGE_SUFFIXES:
        raise UserError(f"{option} {path}: not an image file; end it in .png, .jpg or .webp")
    check_file(option, path)


def check_folder(option: str, path: Path) -> None:
    """Reject an output folder that cannot be made, before a long computation starts.

    Raises:
        UserError: It, or one of the folders above it, is a file or a link to nothing.
    """
    there = next(one for one in (path, *path.parents) if os.path.lexists(one))
    if not there.is_dir():
        kind = "file" if there.exists() else "link to nothing"
        raise UserError(f"{option}: {there} is a {kind}; choose another path")


def made(path: Path) -> Path:
    """Return the path of an output file after making the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def add_rows(
    parser: argparse._ActionsContainer,
    *,
    prefix: str = "",
    of: str = "the dataset",
    split: str = "test, else the only one",
    labels: bool = True,
) -> None:
    """Add the options that choose rows of a dataset and their columns.

    Args:
        parser: The parser of the command, or a group.
        prefix: Before each name, e.g. `real-` where the command reads two datasets.
        of: Which dataset.
        split: The default split.
        labels: Whether the command reads labels.
    """
    texts = {
        "config": ("NAME", f"config of {of} (default: its default)"),
        "split": ("NAME", f"split of {of} (default: {split})"),
        "filter": ("EXPR", f"keep only matching rows of {of}; e.g. 'clip_score > 0.25'"),
        "image-column": ("NAME", f"image column of {of} (default: image, else the only one)"),
    }
    if labels:
        what = f"label column of {of} (default: label, else the only one)"
        texts["label-column"] = ("NAME", what)
    for name, (metavar, text) in texts.items():
        option(parser, f"--{prefix}{name} {metavar}", text)


def add_skip_unreadable(
    parser: argparse._ActionsContainer,
    text: str = "leave out and report unreadable images, images without a row, files in no split, "
    "and class folders without images (default: stop)",
) -> None:
    """Add --skip-unreadable; `text` is its help."""
    option(parser, "--skip-unreadable", text, meaning="unreadable images are no error")


def add_marks(parser: argparse._ActionsContainer, use: str) -> None:
    """Add --marks."""
    text = f"CSV file of marked images, with their recipe and index: {use}"
    option(parser, "--marks FILE", text, Path)


def add_publication(parser: argparse.ArgumentParser, *, group: Any = None) -> None:
    """Add the options of everything that is published, in the words of `hf upload`.

    Args:
        parser: The parser of the command.
        group: Group of its help to list them in.
    """
    add = partial(option, group or parser)
    add("--private", "make the repository private")
    add("--revision BRANCH", "branch, created if missing (default: main)")
    add("--commit-message TEXT", "title of the commit")
    add("--tag TAG", "tag the commit on the Hub, e.g. v1")
    renamed(parser, "--message", "--commit-message")


def add_replace_card(parser: argparse._ActionsContainer) -> None:
    """Add --replace-card."""
    option(
        parser,
        "--replace-card",
        "overwrite edits of the card on the Hub (default: stop and show them)",
    )


def add_dry_run(parser: argparse._ActionsContainer) -> None:
    """Add --dry-run."""
    option(parser, "--dry-run", "show what would be done; change nothing")
