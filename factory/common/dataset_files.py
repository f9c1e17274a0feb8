"""Check that a dataset's files are inside its directory, links resolved, without addresses."""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from factory.common.errors import UserError
from factory.common.inside import is_inside
from factory.common.outside import parse_yaml, read_json, read_text, read_yaml

_CARD = "README.md"
_CARD_FILE = ".huggingface.yaml"
_INFOS = "dataset_infos.json"
CARDS = (_CARD, _CARD_FILE, _INFOS)
"""Files that tell the library datasets where the rows are."""
MANIFEST = "manifest.json"
"""File of a generated dataset that describes its configs."""
MAX_CARD_BYTES = 16_000_000
REPORT = "report.html"
"""Page that `data-factory report` writes into a dataset's directory."""
MARKS = "marks.csv"
"""File of the images that were marked in `data-factory view`."""
_FILES_KEYS = {"data_files", "data_dir"}
_SAVED_LISTS = ("_data_files", "_indices_data_files")
_T = TypeVar("_T")


def check_card(folder: Path, *, shown: str) -> None:
    """Check that a dataset's card names only files of the dataset.

    Raises:
        UserError: The card is invalid, or names an address or a file elsewhere.
    """
    for head in _headers(folder, shown):
        configs = head.get("configs") if isinstance(head, dict) else None
        for name in _texts(configs):
            if "://" in name or name.startswith(("/", "~")) or ".." in PurePosixPath(name).parts:
                raise UserError(
                    f"{shown}: its card names files outside the dataset ({name[:200]!r}), which "
                    "are not read; remove them from `configs`"
                )


def names_files(folder: Path, *, shown: str) -> bool:
    """Return whether a dataset's card lists its data files.

    Raises:
        UserError: The card is invalid.
    """
    heads = [head for head in _headers(folder, shown) if isinstance(head, dict)]
    configs = [one for head in heads for one in _list_or_nothing(head.get("configs"))]
    return any(isinstance(one, dict) and _FILES_KEYS & one.keys() for one in (*heads, *configs))


def _list_or_nothing(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _headers(folder: Path, shown: str) -> Iterator[Any]:
    card, other, infos = (folder / name for name in CARDS)
    check_files([path for path in (card, other, infos) if path.exists()], folder)
    if infos.exists():
        # It only describes columns, but datasets reads it, so its size must be limited.
        read_json(infos)
    if card.exists():
        text = read_text(card, max_bytes=MAX_CARD_BYTES)
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
    """Check that files are regular files in a directory, symbolic links resolved.

    Missing files are accepted.

    Raises:
        UserError: A file is outside the directory, or not a regular file.
    """
    for file in files:
        if "\0" in str(file):
            raise UserError(
                f"{folder}: lists a file whose name contains a null byte ({str(file)[-80:]!r}); "
                "correct the name"
            )
        if not is_inside(Path(file), folder):
            raise UserError(
                f"{file}: is a link out of {folder} and is not read; remove it, or replace it with "
                "the file itself"
            )
        if Path(file).exists() and not Path(file).is_file():
            # A pipe or a device may never end.
            raise UserError(f"{file}: is not a regular file and is not read; remove it")


def check_saved(folder: Path) -> None:
    """Check that the files listed by `save_to_disk` are inside the directory.

    Raises:
        UserError: Some are not, or the list cannot be read.
    """
    parts = [folder]
    whole = folder / "dataset_dict.json"
    if whole.exists():
        parts = [folder / name for name in _list(_mapping(whole, folder), "splits", str, whole)]
    for part in parts:
        path = part / "state.json"
        state = _mapping(path, folder)
        files = [one for name in _SAVED_LISTS for one in _list(state, name, dict, path)]
        check_files([part / str(one.get("filename")) for one in files], folder)
        if (part / "dataset_info.json").exists():
            _mapping(part / "dataset_info.json", folder)


def _list(found: dict[str, Any], key: str, kind: type[_T], path: Path) -> list[_T]:
    """Return the list under a key; empty if there is none."""
    listed = found.get(key) or []
    if not isinstance(listed, list) or not all(isinstance(one, kind) for one in listed):
        raise UserError(
            f"{path}: `{key}` is not a list of {kind.__name__} values; save the dataset again"
        )
    return listed


def _mapping(path: Path, folder: Path) -> dict[str, Any]:
    check_files([path], folder)
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path}: contains {type(found).__name__}, expected a mapping")
    return found
