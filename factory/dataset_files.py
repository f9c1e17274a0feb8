"""Checks that a dataset's files are its own: in its directory, links followed, with no address."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from factory.errors import UserError
from factory.inside import is_inside
from factory.outside import parse_yaml, read_json, read_text, read_yaml

_CARD = "README.md"
_CARD_FILE = ".huggingface.yaml"
CARDS = (_CARD, _CARD_FILE)
"""The files of a dataset that tell the library datasets where its rows are."""
_MAX_CARD_BYTES = 16_000_000
_SAVED_LISTS = ("_data_files", "_indices_data_files")


def check_card(folder: Path, *, shown: str) -> None:
    """See that a dataset's card names files of the dataset only.

    Args:
        folder: Of the dataset.
        shown: The dataset's name in messages.

    Raises:
        UserError: The card does not read, or names an address or a file elsewhere.
    """
    for head in _headers(folder, shown):
        configs = head.get("configs") if isinstance(head, dict) else None
        for name in _texts(configs):
            if "://" in name or name.startswith(("/", "~")) or ".." in PurePosixPath(name).parts:
                raise UserError(
                    f"{shown}: its card names files outside the dataset ({name[:200]!r}), which "
                    "are not read; remove them from `configs`"
                )


def _headers(folder: Path, shown: str) -> Iterator[Any]:
    card, other = folder / _CARD, folder / _CARD_FILE
    check_files([path for path in (card, other) if path.exists()], folder)
    if card.exists():
        text = read_text(card, max_bytes=_MAX_CARD_BYTES)
        lines = text.splitlines(keepends=True)
        rest = lines[1:] if lines and lines[0].strip() == "---" else []
        ends = [number for number, line in enumerate(rest) if line.strip() == "---"]
        header = "".join(rest[: ends[0]]) if ends else ""
        if header.strip():
            yield parse_yaml(header, file=f"{shown}/{_CARD}")
    if other.exists():
        yield read_yaml(other)


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in nested lists and mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def check_files(files: Iterable[str | Path], folder: Path) -> None:
    """See that files are in a directory, symbolic links followed.

    Raises:
        UserError: One is not.
    """
    for file in files:
        if not is_inside(Path(file), folder):
            raise UserError(
                f"{file}: leads out of {folder} and is not read; remove it, or put the file itself "
                "in its place"
            )


def check_saved(folder: Path) -> None:
    """See that what `save_to_disk` wrote lists files of the directory only.

    Raises:
        UserError: It lists others, or does not read.
    """
    parts = [folder]
    if (folder / "dataset_dict.json").exists():
        splits = _mapping(folder / "dataset_dict.json", folder).get("splits")
        parts = [folder / str(name) for name in splits or ()]
    for part in parts:
        state = _mapping(part / "state.json", folder)
        files = [one for name in _SAVED_LISTS for one in state.get(name) or ()]
        check_files([part / str(one.get("filename")) for one in files], folder)
        check_files([part / "dataset_info.json"], folder)


def _mapping(path: Path, folder: Path) -> dict[str, Any]:
    check_files([path], folder)
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds {type(found).__name__}, not a mapping")
    return found
