"""Check that a dataset's files are inside its directory, links resolved, without addresses."""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from factory.common.errors import UserError
from factory.common.local_paths import is_inside, missing_directory
from factory.common.program import command
from factory.common.row_options import choose_one
from factory.common.storage import AnyPath, is_local
from factory.common.text import cut, suggest
from factory.common.untrusted_files import parse_yaml, read_json, read_text, read_yaml

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
ROUNDS = "rounds.json"
"""Cost of the rounds that `data-factory grow` added."""
SHEET = "card/contact-sheet.jpg"
"""Sample images of all configs, for the card."""
MARKS = "marks.csv"
"""File of the images that were marked in `data-factory view`."""
_FILES_KEYS = {"data_files", "data_dir"}
_SAVED_LISTS = ("_data_files", "_indices_data_files")
_T = TypeVar("_T")


def no_dataset(out: AnyPath) -> UserError:
    """Return the error for a directory without a manifest, or a missing one."""
    remedy = f"name a directory that `{command('build')}` wrote"
    if is_local(out) and not out.exists():
        return missing_directory(out, otherwise=remedy)
    return UserError(f"{out}: is not a dataset directory (no {MANIFEST}); {remedy}")


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
    return any(_FILES_KEYS & one.keys() for one in (*heads, *_configs_of(heads)))


def check_config(folder: Path, config_name: str | None, *, shown: str) -> list[str]:
    """Check a config's name against a dataset's card, without the slow library datasets.

    Args:
        folder: Directory of the card.
        config_name: None for the default config, which the card marks or names `default`.
        shown: The dataset as the user named it.

    Returns:
        Names of all configs in the card; empty if it lists none.

    Raises:
        UserError: The card lists configs, but not this one, or several without a default.
    """
    heads = [head for head in _headers(folder, shown) if isinstance(head, dict)]
    named = [one for one in _configs_of(heads) if "config_name" in one]
    if odd := [one for one in named if not isinstance(one["config_name"], str)]:
        name = cut(repr(odd[0]["config_name"]), 80)
        raise UserError(f"{shown}: its card is invalid (config_name {name} is not a text)")
    configs = {one["config_name"]: one for one in named}
    if not configs:
        return []
    if config_name is not None and config_name not in configs:
        raise UserError(f"{shown}: no config {config_name!r}; {suggest(config_name, configs)}")
    has_default = "default" in configs or any(one.get("default") for one in configs.values())
    if config_name is None and len(configs) > 1 and not has_default:
        raise UserError(f"{shown}: {choose_one('config', configs)}")
    return list(configs)


def files_in_card(folder: Path, config_name: str | None, *, shown: str) -> dict[str, list[str]]:
    """Return the files and patterns that a card lists of a config by split; empty if of no split.

    Arguments as for `check_config`, which has accepted the config.
    """
    heads = [head for head in _headers(folder, shown) if isinstance(head, dict)]
    configs = _configs_of(heads)
    wanted = config_name or "default"
    chosen = [one for one in configs if one.get("config_name") == wanted]
    if config_name is None:
        chosen = [one for one in configs if one.get("default")] or chosen or configs
    files = chosen[0].get("data_files") if len(chosen) == 1 else None
    listed = files if isinstance(files, list) else []
    folder_of = str(chosen[0].get("data_dir") or "") if listed else ""
    found: dict[str, list[str]] = {}
    for one in listed:
        split = one.get("split") if isinstance(one, dict) else None
        if not isinstance(split, str):
            return {}
        paths = one.get("path")
        texts = paths if isinstance(paths, list) else [paths]
        own = found.setdefault(split, [])
        own += [str(PurePosixPath(folder_of, text)) for text in texts if isinstance(text, str)]
    return found


def _configs_of(heads: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the configs that the headers of a card list."""
    listed = (head.get("configs") for head in heads)
    found = (one for configs in listed if isinstance(configs, list) for one in configs)
    return [one for one in found if isinstance(one, dict)]


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
            yield _numbered(parse_yaml(header, file=f"{shown}/{_CARD}"), shown)
    if other.exists():
        yield _numbered(read_yaml(other), shown)


def _numbered(head: Any, shown: str) -> Any:
    """Return a header whose classes have the numbers 0, 1, 2, ...

    datasets makes a list as long as the last number, however large that is.
    """
    below: list[Any] = [head]
    while below:
        value = below.pop()
        names = value.get("names") if isinstance(value, dict) else None
        if isinstance(names, dict) and {str(key) for key in names} != {
            *map(str, range(len(names)))
        }:
            raise UserError(
                f"{shown}: its card does not number its classes 0, 1, 2, ...; correct `names` of "
                "`class_label`"
            )
        below += value.values() if isinstance(value, dict) else ()
        below += value if isinstance(value, list) else ()
    return head


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


def check_saved(folder: Path) -> dict[Path, list[str]]:
    """Check that the files listed by `save_to_disk` are inside the directory.

    Returns:
        The files of rows of each part of the directory.

    Raises:
        UserError: Some are not, or the list cannot be read.
    """
    parts = [folder]
    whole = folder / "dataset_dict.json"
    if whole.exists():
        parts = [folder / name for name in _list(_mapping(whole, folder), "splits", str, whole)]
    found: dict[Path, list[str]] = {}
    for part in parts:
        path = part / "state.json"
        state = _mapping(path, folder)
        files = [one for name in _SAVED_LISTS for one in _list(state, name, dict, path)]
        listed = [str(part / str(one.get("filename"))) for one in files]
        check_files(listed, folder)
        found[part] = listed
        if (part / "dataset_info.json").exists():
            _mapping(part / "dataset_info.json", folder)
    return found


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
