"""Read image folders: the class of an image is the top-level folder that contains it.

    photos/cat/IMG_0001.JPG             class cat, no split
    photos/cat/2024/summer/a.png        class cat
    photos/train/cat/a.png              split train, class cat: only if the top level has no folders
    photos/test/cat/b.png               but those named train, test or val(idation)

Nothing is inferred from file names, and nothing is skipped silently: other files are counted by
their suffix, and images in unsupported formats are rejected unless that is allowed. Metadata files
list the rows instead (`factory.data.folder_rows`).
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from factory.common.errors import Fault, UserError
from factory.common.image_bytes import INSTALL_HEIC, reads_heic
from factory.common.local_paths import is_inside
from factory.common.text import agree, plural
from factory.data.image_classes import class_depth, is_split
from factory.data.row_counts import shortened

_READ = ".png .jpg .jpeg .jpe .jfif .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm"
_HEIC = ".heic .heif .hif"
# Images in formats that `factory.common.row_images` does not read; HEIC only with its decoder.
_NOT_READ = f"""{_HEIC} .avif .jxl .jp2 .j2k .raw .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf
    .pef .srw .svg .psd .xcf .eps .ico .tga .exr .hdr .dds .apng .mpo"""
_WITH_HEIC = f"install the decoder of HEIC: {INSTALL_HEIC}"
_DATA = ".parquet .arrow .feather .tar .lance .hdf5 .h5"
# Files of rows that datasets loads in the formats of `factory.data.dataset_builders`, besides text.
_TABLES = ".parquet .geoparquet .gpq .arrow .csv .tsv .json .jsonl .ndjson"
_METADATA = ".csv .jsonl .parquet"
_ARCHIVES = ".zip .7z .rar .tgz .gz .bz2 .xz .zst"
_DESCRIPTIONS = {".md", "without suffix"}
_OF_SYSTEMS = "thumbs.db ehthumbs.db desktop.ini __macosx @eadir $recycle.bin lost+found"
READ, NOT_READ, HEIC, DATA, TABLES, METADATA, ARCHIVES, OF_SYSTEMS = (
    frozenset(names.split())
    for names in (_READ, _NOT_READ, _HEIC, _DATA, _TABLES, _METADATA, _ARCHIVES, _OF_SYSTEMS)
)

_DEEPEST = 100
NO_IMAGES = "without readable images"


@dataclass
class ImageFolder:
    """Content of an image folder.

    Attributes:
        folder: Its path.
        images: Paths inside the folder, sorted, of images in supported formats.
        not_read: Paths of images in other formats.
        others: Number of other files by suffix; files of operating systems do not count.
        metadata: Paths of files that list the rows.
        folders: Paths of all folders.
        faults: Folders that may not be listed, and links that are not followed, with the reason.
    """

    folder: Path
    images: list[PurePosixPath] = field(default_factory=list)
    not_read: list[PurePosixPath] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    metadata: list[PurePosixPath] = field(default_factory=list)
    folders: set[PurePosixPath] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)

    def add_unless_of_system(self, path: PurePosixPath) -> None:
        """Count a file listed elsewhere, unless it belongs to an operating system."""
        if not any(_is_of_system(part) for part in path.parts):
            self.folders.update(path.parents[:-1])
            self.add(path)

    def add(self, path: PurePosixPath) -> None:
        """Count a file."""
        suffix = path.suffix.lower()
        if path.stem.lower() == "metadata" and path.suffix in METADATA:
            self.metadata.append(path)
        elif suffix in READ or (suffix in HEIC and reads_heic()):
            self.images.append(path)
        elif suffix in NOT_READ:
            self.not_read.append(path)
        else:
            self.others[suffix or "without suffix"] += 1

    def require_read(self, shown: str, refused: Sequence[PurePosixPath]) -> None:
        """Reject a folder with a link that is not followed, or with images in unsupported formats.

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
            f"{shown}: {len(refused):,} of {total} "
            f"{agree(len(refused), 'is in an unsupported format', 'are in unsupported formats')} "
            f"({_counted(suffixes)}; the first is {refused[0]}); convert them to JPEG or PNG"
            + (", or skip them with --skip-unreadable" if self.images else "")
            + (f", or {_WITH_HEIC}" if HEIC & suffixes.keys() else "")
        )

    @property
    def has_data(self) -> bool:
        """Whether there are files of other datasets, such as Parquet."""
        return not DATA.isdisjoint(self.others)

    @property
    def holds_images(self) -> bool:
        """Whether the most frequent type of file is an image, as the library datasets decides."""
        images = Counter(path.suffix.lower() for path in (*self.images, *self.not_read))
        data = max((self.others[suffix] for suffix in DATA), default=0)
        return max(images.values(), default=0) > data

    @property
    def left_out(self) -> dict[str, int]:
        """Number of skipped files by suffix, and of folders without images."""
        suffixes = Counter(path.suffix.lower() for path in self.not_read)
        found = dict(sorted((suffixes + self.others).items()))
        empty = self._empty_classes()
        if empty:
            noun = "folder" if len(empty) == 1 else "folders"
            found[f"{noun} {NO_IMAGES} ({shortened(empty)})"] = len(empty)
        return found

    def without_images(self) -> str:
        """Describe what a folder without images contains."""
        others = f", only {_counted(self.others)}" if self.others else ""
        folders = sorted(map(str, self.folders))
        if not folders:
            return f"contains no images{others}"
        named = f"{plural(len(folders), 'folder')} ({shortened(folders)})"
        return f"contains no images{others} in its {named}"

    def refuse_without_rows(self, shown: str, *, labelled: bool) -> None:
        """Reject a folder without images whose other files cannot hold rows either.

        Args:
            shown: The folder as the user named it.
            labelled: Whether rows need labels. Otherwise they may be lines of text files.

        Raises:
            UserError: It has no such file.
        """
        from PIL import Image

        # datasets reads images in all formats that Pillow opens.
        formats = Image.registered_extensions()
        images = {suffix for suffix, name in formats.items() if name in Image.OPEN}
        loaded = {*TABLES, *images, *([] if labelled else [".txt"])}
        if loaded.isdisjoint(self.others) and not self.has_data:
            folders = [one for one in sorted(self.folders) if not is_split(one.name)]
            example = folders[0] if folders else "cat"
            raise UserError(
                f"{shown}: {self.without_images()}; put the images of each class into a folder "
                f"with its name ({shown}/{example}/1.jpg), or name another dataset"
            )

    def _empty_classes(self) -> list[str]:
        """Return the folders without images that would be a class or a split."""
        used = {folder for path in self.images for folder in path.parents}
        depth = class_depth(self.images)
        return sorted(
            str(one)
            for one in self.folders - used
            if one.parent in used
            and (len(one.parts) == depth or (len(one.parts) < depth and is_split(one.name)))
        )


def find_images(folder: Path) -> ImageFolder:
    """Scan a directory."""
    found = ImageFolder(folder)
    for path in _walk(found, PurePosixPath()):
        found.add(path)
    found.images.sort()
    return found


def listed_images(folder: Path, paths: Iterable[str]) -> ImageFolder:
    """Sort the paths that a Hub repository lists; `folder` contains the downloaded ones."""
    found = ImageFolder(folder)
    for path in sorted(map(PurePosixPath, paths)):
        found.add_unless_of_system(path)
    return found


def has_images(found: ImageFolder, shown: str) -> bool:
    """Return whether a folder contains an image of any format.

    Raises:
        UserError: Its only files are archives and their descriptions, or links that are not
            followed.
    """
    if found.images or found.not_read:
        return True
    if found.faults and set(found.others) <= _DESCRIPTIONS:
        raise UserError(found.faults[0])
    archives = Counter({one: n for one, n in found.others.items() if one in ARCHIVES})
    if archives and set(found.others) <= ARCHIVES | _DESCRIPTIONS:
        held = _counted(archives)
        raise UserError(f"{shown}: contains archives ({held}) and no images; unpack them")
    return False


def list_folder(folder: Path, faults: list[Fault]) -> list[os.DirEntry[str]]:
    """Return the entries of a folder by name; if that is not permitted, add it to `faults`."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except PermissionError:
        denied = "permission to list it is denied; change its permissions"
        faults.append(Fault(denied, file=str(folder)))
        return []


def _walk(found: ImageFolder, inside: PurePosixPath) -> Iterator[PurePosixPath]:
    """Yield all files except those of operating systems, folders in order."""
    for entry in list_folder(found.folder / inside, found.faults):
        path = inside / entry.name
        if _is_of_system(entry.name):
            continue
        fault = link_fault(found.folder, path) if entry.is_symlink() else None
        if not fault and len(path.parts) > _DEEPEST:
            deep = f"has folders below {_DEEPEST} others; move their files up"
            fault = Fault(deep, file=str(found.folder))
        if fault:
            found.faults.append(fault)
        elif entry.is_dir():
            found.folders.add(path)
            yield from _walk(found, path)
        else:
            yield path


def link_fault(folder: Path, path: PurePosixPath) -> Fault | None:
    """Return why a link is not followed: it leads out, or its images would be read twice."""
    place = folder / path
    if not is_inside(place, folder):
        return Fault(
            f"is a link out of {folder} and is not read; remove it, or put the images themselves "
            "there",
            file=str(place),
        )
    if place.is_dir():
        return Fault("is a link to a folder and is not read; remove it", file=str(place))
    return None


def _is_of_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in OF_SYSTEMS


def _counted(suffixes: Counter[str]) -> str:
    return ", ".join(f"{number:,} {suffix}" for suffix, number in sorted(suffixes.items()))


def _images(number: int) -> str:
    return plural(number, "image")
