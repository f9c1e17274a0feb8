"""Read image folders: the class of an image is the top-level folder that contains it.

    photos/cat/IMG_0001.JPG             class cat
    photos/cat/2024/summer/a.png        class cat
    photos/train/cat/a.png              split train, class cat: only if the top level has no folders
    photos/test/cat/b.png               but those named train, test or val(idation)

Nothing is inferred from file names, and nothing is skipped silently: other files are counted by
their suffix, and images in unsupported formats are rejected unless that is allowed.
`factory.data.left_out` does the same for folders whose rows are listed in a metadata file or card.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from factory.common.errors import UserError
from factory.common.image_bytes import INSTALL_HEIC, reads_heic
from factory.common.inside import is_inside
from factory.data.image_classes import splits_of
from factory.data.row_counts import some

if TYPE_CHECKING:
    import datasets

_READ = ".png .jpg .jpeg .jpe .jfif .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm"
_HEIC = ".heic .heif .hif"
# Images in formats that `factory.common.row_images` does not read; HEIC only with its decoder.
_NOT_READ = f"""{_HEIC} .avif .jxl .jp2 .j2k .raw .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf
    .pef .srw .svg .psd .xcf .eps .ico .tga .exr .hdr .dds .apng .mpo"""
_WITH_HEIC = f"install the decoder of HEIC: {INSTALL_HEIC}"
_DATA = ".parquet .arrow .feather .tar .lance .hdf5 .h5"
_METADATA = "metadata.csv metadata.jsonl metadata.parquet"
_ARCHIVES = ".zip .7z .rar .tgz .gz .bz2 .xz .zst"
_DESCRIPTIONS = {".md", "without suffix"}
_OF_SYSTEMS = "thumbs.db ehthumbs.db desktop.ini __macosx @eadir $recycle.bin lost+found"
READ, NOT_READ, HEIC, DATA, METADATA, ARCHIVES, OF_SYSTEMS = (
    frozenset(names.split())
    for names in (_READ, _NOT_READ, _HEIC, _DATA, _METADATA, _ARCHIVES, _OF_SYSTEMS)
)


@dataclass
class ImageFolder:
    """Content of an image folder.

    Attributes:
        folder: Its path.
        images: Paths inside the folder, sorted, of images in supported formats.
        not_read: Paths of images in other formats.
        others: Number of other files by suffix; files of operating systems do not count.
        has_metadata: Whether files say which images are rows, which the library datasets reads.
        has_data: Whether there are files of other datasets among them, such as Parquet.
        tops: Names of the folders at the top.
        faults: Folders that may not be listed, and links that are not followed, with the reason.
    """

    folder: Path
    images: list[PurePosixPath] = field(default_factory=list)
    not_read: list[PurePosixPath] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    has_metadata: bool = False
    has_data: bool = False
    tops: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def add_unless_of_system(self, path: PurePosixPath) -> None:
        """Count a file listed elsewhere, unless it belongs to an operating system."""
        if not any(_is_of_system(part) for part in path.parts):
            self.tops.update(path.parts[:-1][:1])
            self.add(path)

    def add(self, path: PurePosixPath) -> None:
        """Count a file."""
        suffix = path.suffix.lower()
        if path.name.lower() in METADATA:
            self.has_metadata = True
        elif suffix in READ or (suffix in HEIC and reads_heic()):
            self.images.append(path)
        elif suffix in NOT_READ:
            self.not_read.append(path)
        else:
            self.has_data |= suffix in DATA
            self.others[suffix or "without suffix"] += 1

    def require_read(self, shown: str, refused: Sequence[PurePosixPath]) -> None:
        """Reject a folder with a link that is not followed, or with images in unsupported formats.

        Args:
            shown: The folder as the user named it.
            refused: Those images.

        Raises:
            UserError: There are any; the message names a remedy.
        """
        if self.faults:
            raise UserError(self.faults[0])
        if not refused:
            return
        total = _images(len(self.images) + len(self.not_read))
        suffixes = Counter(path.suffix.lower() for path in refused)
        raise UserError(
            f"{shown}: {len(refused):,} of {total} are in unsupported formats "
            f"({_counted(suffixes)}; the first is {refused[0]}); convert them to JPEG or PNG"
            + (", or skip them with --skip-unreadable" if self.images else "")
            + (f", or {_WITH_HEIC}" if HEIC & suffixes.keys() else "")
        )

    @property
    def left_out(self) -> dict[str, int]:
        """Number of skipped files by suffix, and of folders without images."""
        suffixes = Counter(path.suffix.lower() for path in self.not_read)
        found = dict(sorted((suffixes + self.others).items()))
        used = {path.parts[0] for path in self.images}
        empty = sorted(self.tops - used)
        if empty:
            found[f"without readable images (folders: {some(empty)})"] = len(empty)
        return found


def find_images(folder: Path) -> ImageFolder:
    """Scan a directory."""
    found = ImageFolder(folder)
    for path in _walk(found, PurePosixPath()):
        found.add(path)
    found.images.sort()
    entries = (one for one in folder.iterdir() if not _is_of_system(one.name))
    found.tops = {one.name for one in entries if one.is_dir()}
    return found


def listed_images(folder: Path, paths: Iterable[str]) -> ImageFolder:
    """Sort paths that a repository of the Hub lists; `folder` holds those that are fetched."""
    found = ImageFolder(folder)
    for path in sorted(map(PurePosixPath, paths)):
        found.add_unless_of_system(path)
    return found


def has_images(found: ImageFolder, shown: str) -> bool:
    """Return whether a folder contains an image of any format.

    Args:
        found: The folder.
        shown: The folder as the user named it.

    Raises:
        UserError: Its only files are archives, and what describes them.
    """
    if found.images or found.not_read:
        return True
    archives = Counter({one: n for one, n in found.others.items() if one in ARCHIVES})
    if archives and set(found.others) <= ARCHIVES | _DESCRIPTIONS:
        held = _counted(archives)
        raise UserError(f"{shown}: contains {held} and no images; unpack them")
    return False


def load_images(
    found: ImageFolder, *, skip_unreadable: bool, shown: str, unwrap: bool = False
) -> datasets.DatasetDict:
    """Return the images of a folder by split, as rows of path and label.

    Args:
        found: From `find_images` or `listed_images`; no file is read.
        skip_unreadable: Whether to skip images in unsupported formats.
        shown: The folder as the user named it.
        unwrap: As for `splits_of`.

    Raises:
        UserError: An image has no class or an unsupported format; or a link leads out of the
            folder.
    """
    import datasets as hf

    found.require_read(shown, found.not_read if not skip_unreadable else [])
    splits = splits_of(found.images, shown, unwrap=unwrap)
    names = sorted({name for rows in splits.values() for _, name in rows})
    features = hf.Features({"image": hf.Image(decode=False), "label": hf.ClassLabel(names=names)})
    numbers = {name: number for number, name in enumerate(names)}
    return hf.DatasetDict(
        {
            split: hf.Dataset.from_dict(
                {
                    "image": [str(found.folder / path) for path, _ in rows],
                    "label": [numbers[name] for _, name in rows],
                },
                features=features,
            )
            for split, rows in splits.items()
        }
    )


def _walk(found: ImageFolder, inside: PurePosixPath) -> Iterator[PurePosixPath]:
    """Yield all files except those of operating systems, folders in order."""
    try:
        with os.scandir(found.folder / inside) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except PermissionError:
        found.faults.append(
            f"{found.folder / inside}: permission to list it is denied; change its permissions"
        )
        return
    for entry in listed:
        path = inside / entry.name
        if _is_of_system(entry.name):
            continue
        fault = _link_fault(found.folder, path) if entry.is_symlink() else ""
        if fault:
            found.faults.append(fault)
        elif entry.is_dir():
            yield from _walk(found, path)
        else:
            yield path


def _link_fault(folder: Path, path: PurePosixPath) -> str:
    """Return why a link is not followed: it leads out, or its images would be read twice."""
    if not is_inside(folder / path, folder):
        return (
            f"{folder / path}: is a link out of {folder} and is not read; remove it, or put the "
            "images themselves there"
        )
    if (folder / path).is_dir():
        return f"{folder / path}: is a link to a folder and is not read; remove it"
    return ""


def _is_of_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in OF_SYSTEMS


def _counted(suffixes: Counter[str]) -> str:
    return ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(suffixes.items()))


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
