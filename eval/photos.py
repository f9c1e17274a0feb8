"""Find the images that a user names: files, folders, patterns, datasets, paths on standard input.

No image is read here. A path without an image is reported with its reason; the others are used.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from eval.photo_patterns import find_matches
from factory.common.errors import Fault, UserError
from factory.common.redaction import cut_line
from factory.common.row_images import read_file, read_hashed
from factory.common.storage import at_home
from factory.common.system_files import is_system_file
from factory.common.text import plural
from factory.data.image_folder import NOT_READ, READ, find_images
from factory.data.image_table import TABLES, is_table
from factory.data.left_out import images_lost
from factory.data.open import OpenedDataset, OpenedImages, is_dataset, open_images
from factory.data.row_counts import left_out_line
from factory.hub.ids import looks_like_hub_id

if TYPE_CHECKING:
    from PIL.Image import Image

_HUB = "hf://"
_STDIN = "-"


@dataclass(frozen=True)
class Photo:
    """An image that can be read.

    Attributes:
        name: Name as the user typed it.
        read: Function that returns the image as RGB. Its argument is the longest side in pixels
            after the later resize, or None. Raises `UnreadableImage`.
    """

    name: str
    read: Callable[[int | None], Image]


@dataclass
class Found:
    """Images that some paths name.

    Attributes:
        photos: Images, in the order of the paths; an image named twice is listed once.
        faults: Paths that name no image (`file`), each with the reason.
        left_out: Number of files in folders that are not images, by suffix.
        datasets: Datasets among the paths, with the split, if they have any, and number of images.
        lost: Number of files of these datasets that may hold images but were not read, by reason.
    """

    photos: list[Photo] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    datasets: list[str] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        """Return the number of images, and of what was not read, as one line."""
        of = f" ({'; '.join(self.datasets)})" if self.datasets else ""
        others = left_out_line(dict(sorted(self.left_out.items())))
        parts = [f"{plural(len(self.photos), 'image')}{of}"]
        parts += [f"{_paths(len(self.faults))} no image"] if self.faults else []
        parts += [f"not read: {others}"] if others else []
        return "; ".join(parts)


def _paths(count: int) -> str:
    return f"{plural(count, 'path')} {'names' if count == 1 else 'name'}"


def fault_line(fault: Fault) -> str:
    """Return a path without an image and the reason; of a long path the beginning."""
    return f"{cut_line(fault.file or '', 200)}: {fault.message}"


def fault_of(name: str, error: Exception) -> Fault:
    """Return an error about a path or image as a fault; its message may begin with the name."""
    reason = str(error).removeprefix(name).removeprefix(":").strip()
    return Fault(reason, file=name)


def file_photo(file: Path, *, name: str, folder: Path | None = None) -> Photo:
    """Return the photo of a file; see `factory.common.row_images.read_file`."""
    return Photo(name, lambda side: read_file(file, shown=name, folder=folder, side=side))


def row_photos(
    opened: OpenedDataset | OpenedImages, *, name: str, chosen: Sequence[int] | None = None
) -> list[Photo]:
    """Return the photos of some rows, by default all; `name` is the dataset's in messages."""
    column, rows = opened.image_column, opened.dataset.select_columns([opened.image_column])

    def photo(number: int) -> Photo:
        where = f"{name} row {number}"

        def read(side: int | None) -> Image:
            item = rows[number][column]
            return read_hashed(item, where=where, folder=opened.image_folder, side=side)[0]

        return Photo(where, read)

    return [photo(number) for number in (range(len(rows)) if chosen is None else chosen)]


def find_photos(
    paths: Iterable[str],
    *,
    standard_input: Callable[[], Iterable[bytes]],
    dataset_options: Mapping[str, str | None],
) -> Found:
    """Find the images that paths name.

    Args:
        paths: Files, folders, glob patterns, tables of images, datasets of the Hub
            (`[hf://datasets/]ORG/NAME[@REVISION]`), and `-`.
        standard_input: Returns lines of paths; called for `-`.
        dataset_options: Arguments of `open_images`, for paths that are datasets.

    Raises:
        UserError: A dataset cannot be opened.
    """
    finder = _Finder(dict(dataset_options))
    for path in paths:
        if path == _STDIN:
            for line in standard_input():
                name = os.fsdecode(line).rstrip("\r\n")
                if name:
                    finder.add(name)
        else:
            finder.add(path, may_be_id=True)
    return finder.found


class _Finder:
    def __init__(self, dataset_options: dict[str, str | None]) -> None:
        self.found = Found()
        self._options = dataset_options
        self._seen: set[Path] = set()

    def add(self, name: str, *, may_be_id: bool = False) -> None:
        """Add the images that a path names, or the reason why it names none.

        Args:
            name: The path.
            may_be_id: Whether it may be a dataset's Hub id without prefix. Lines of a list of files
                are never sent to the Hub.
        """
        try:
            path = at_home(name)
        except UserError as error:
            self.found.faults.append(fault_of(name, error))
            return
        if name.startswith(_HUB) or (may_be_id and _is_hub_id(name)):
            self._add_dataset(name, name)
            return
        try:
            self._add_path(name, path)
        except (OSError, ValueError) as error:
            # Names that are too long or hold a NUL, folders that may not be listed.
            reason = getattr(error, "strerror", None) or str(error)
            self.found.faults.append(Fault(f"cannot be read ({reason})", file=name))

    def _add_path(self, name: str, path: Path) -> None:
        if path.is_dir():
            self._add_folder(name, path)
        elif os.path.lexists(path):
            if is_table(path):
                self._add_dataset(name, str(path))
            elif not is_system_file(PurePath(path.name)):
                self._add_file(name, path)
        elif glob.has_magic(name):
            self._add_matches(name, path)
        else:
            hint = "" if path.parent.is_dir() else f", nor a folder {path.parent}"
            missing = f"no such file{hint}; a dataset of the Hub is named hf://datasets/ORG/NAME"
            self.found.faults.append(Fault(missing, file=name))

    def _add_file(self, name: str, path: Path, folder: Path | None = None) -> None:
        if path not in self._seen:
            self._seen.add(path)
            self.found.photos.append(file_photo(path, name=name, folder=folder))

    def _add_folder(self, name: str, path: Path) -> None:
        inside = find_images(path)
        try:
            holds_rows = is_dataset(inside)
        except UserError as error:
            self.found.faults.append(fault_of(name, error))
            return
        if holds_rows:
            self._add_dataset(name, str(path))
            return
        images = sorted([*inside.images, *inside.not_read])
        for image in images:
            self._add_file(str(PurePath(name, image)), path / image, path)
        self.found.faults += inside.faults
        self.found.left_out.update(inside.others)
        if not images and not inside.faults:
            self.found.faults.append(Fault(inside.without_images(), file=name))

    def _add_matches(self, name: str, pattern: Path) -> None:
        """Add the files that match a pattern, like the content of the folder that it names."""
        found = find_matches(pattern)
        for match in found.paths:
            if match.is_dir():
                # `**` matches folders beside what is in them.
                if "**" not in name:
                    self._add_folder(str(match), match)
            elif match.suffix.lower() in READ | NOT_READ:
                self._add_file(str(match), match, found.folder)
            elif not is_system_file(PurePath(match.name)):
                self.found.left_out[match.suffix.lower() or "without suffix"] += 1
        self.found.faults += found.faults
        if not found.paths and not found.faults:
            self.found.faults.append(Fault("no file matches", file=name))

    def _add_dataset(self, name: str, reference: str) -> None:
        opened = open_images(reference, **self._options)
        if is_table(Path(reference)) and opened.image_folder is not None:
            self._add_files_of(opened, opened.image_folder, name)
        else:
            self.found.photos += row_photos(opened, name=name)
        self.found.left_out.update(opened.left_out)
        self.found.lost.update(images_lost(opened.left_out))
        count = plural(len(opened.dataset), "image")
        split = f"split {opened.split}, " if opened.split else ""
        self.found.datasets.append(f"{name}: {split}{count}")

    def _add_files_of(self, opened: OpenedImages, folder: Path, name: str) -> None:
        """Add the files that the rows of a table name."""
        for row, item in enumerate(opened.dataset[opened.image_column]):
            if item is None:
                self.found.faults.append(Fault("names no file", file=f"{name} row {row}"))
            else:
                self._add_file(item["path"], Path(item["path"]), folder)


def _is_hub_id(name: str) -> bool:
    """Return whether a path that does not exist here is a dataset's id, not a mistyped file."""
    path = at_home(name)
    return (
        looks_like_hub_id(name)
        and path.suffix.lower() not in READ | NOT_READ | TABLES
        and not os.path.lexists(path)
        and not path.parent.exists()
    )


def require_datasets(found: Found, given: Sequence[str]) -> None:
    """Reject options for datasets if no path is a dataset.

    Raises:
        UserError: None of the paths is a dataset.
    """
    if given and not found.datasets:
        raise UserError(
            f"{given[0]} applies to datasets only, and none of the paths is a dataset; remove it"
        )
