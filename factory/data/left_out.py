"""Count the files of a dataset that no row refers to, and refuse those that may be data."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError
from factory.data.image_folder import NO_IMAGES, NOT_READ, ImageFolder
from factory.data.row_counts import left_out_line

if TYPE_CHECKING:
    import datasets

_NO_ROW = "without a row"
_NO_SPLIT = "in no split"
_REMEDIES = {
    _NO_ROW: "list these images in a metadata file, or move them out of the dataset",
    _NO_SPLIT: "name the files of each split in the card (`configs` in README.md), or rename them",
    NO_IMAGES: "put images there, or move such folders out of the dataset",
}


def refuse_lost(left_out: Mapping[str, int], *, shown: str) -> None:
    """Reject a dataset if parts of it that look like data were not read.

    Raises:
        UserError: There are images without a row, files in no split, or folders without images.
    """
    for part, remedy in _REMEDIES.items():
        lost = {reason: count for reason, count in left_out.items() if part in reason}
        if lost:
            raise UserError(
                f"{shown}: not read: {left_out_line(lost)}; {remedy}, or leave them out with "
                "--skip-unreadable"
            )


def needs_skipping(left_out: Mapping[str, Any]) -> bool:
    """Return whether a dataset with these counts is read with `--skip-unreadable` only."""
    return any(one in NOT_READ or any(part in one for part in _REMEDIES) for one in left_out)


def images_lost(left_out: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of files that may hold images: unsupported, in no row or in no split."""
    return {
        reason: count
        for reason, count in left_out.items()
        if reason in NOT_READ or reason.endswith((_NO_ROW, _NO_SPLIT))
    }


def left_out_of(
    found: ImageFolder,
    rows: Iterable[datasets.Dataset],
    *,
    skip_unreadable: bool,
    shown: str,
) -> dict[str, int]:
    """Return the number of files that no row refers to, by suffix.

    Raises:
        UserError: Images in unsupported formats exist that no row refers to.
    """
    named = {place_of(path) for dataset in rows for path in _paths_of(dataset)}
    missing, lost = (
        [path for path in paths if place_of(str(found.folder / path)) not in named]
        for paths in (found.images, found.not_read)
    )
    found.require_read(shown, [] if skip_unreadable else lost)
    counts = found.others + Counter(path.suffix.lower() for path in lost)
    counts.update(f"{path.suffix.lower()} {_NO_ROW}" for path in missing)
    return dict(sorted(counts.items()))


def files_left_out(read: Iterable[str], listed: Iterable[str]) -> dict[str, int]:
    """Return the number of files that are in no split, by suffix, of the suffixes that were read.

    datasets leaves files out whose names contain no word of a split, if those of others do.
    """
    from datasets.data_files import FILES_TO_IGNORE

    there = set(read)
    suffixes = {PurePath(path).suffix for path in there}
    others = (PurePath(path) for path in listed if path not in there)
    lost = [
        path.suffix
        for path in others
        if path.suffix in suffixes
        and path.name not in FILES_TO_IGNORE
        and not any(part.startswith((".", "__")) for part in path.parts)
    ]
    return dict(Counter(f"{suffix} {_NO_SPLIT}" for suffix in sorted(lost)))


def files_below(folder: Path) -> Iterator[str]:
    """Yield the paths of all files of a directory, relative to it."""
    for parent, _, files in os.walk(folder):
        for name in files:
            yield Path(parent, name).relative_to(folder).as_posix()


def _paths_of(dataset: datasets.Dataset) -> Iterator[str]:
    """Yield the path of every image of every row, also in lists of images."""
    for name in dataset.column_names:
        for chunk in dataset.data.column(name).chunks:
            yield from _paths_in(chunk)


def _paths_in(values: Any) -> Iterator[str]:
    import pyarrow.types as kinds

    if kinds.is_list(values.type) or kinds.is_large_list(values.type):
        yield from _paths_in(values.flatten())
    elif kinds.is_struct(values.type):
        names = [one.name for one in values.type]
        if sorted(names) == ["bytes", "path"]:
            yield from filter(None, values.field("path").to_pylist())
        else:
            for name in names:
                yield from _paths_in(values.field(name))


def place_of(path: str) -> str:
    """Return a file's absolute path; links of its folders are resolved, but not its own."""
    folder, name = os.path.split(path)
    return f"{_real(folder)}/{name}"


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)
