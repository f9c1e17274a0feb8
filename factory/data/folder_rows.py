"""Load an image folder: the rows that its metadata files list, or its images by their folders.

    photos/metadata.csv, photos/a.png, photos/b.png               no split
    photos/train/metadata.csv, photos/test/metadata.csv, ...      splits train and test
    photos/metadata.csv, photos/train/a.png, photos/test/b.png    the same

The library datasets reads metadata files, but which of them, and of which split, it decides by
words in the names of folders and files: with `my test.png` beside it, `metadata.csv` is not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.common.errors import UserError, first_line
from factory.data.dataset_builders import IMAGES, load_files
from factory.data.image_classes import folder_splits, splits_of
from factory.data.image_folder import ImageFolder
from factory.data.left_out import left_out_of, place_of, refuse_lost

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import datasets


def load_folder(
    found: ImageFolder,
    *,
    labelled: bool,
    skip_unreadable: bool,
    shown: str,
    unwrap: bool = False,
) -> tuple[datasets.DatasetDict, dict[str, int]]:
    """Return the rows of an image folder by split, and the number of files that were not read.

    Arguments are those of `load_images`.

    Raises:
        UserError: A metadata file cannot be read or does not list all images, or only some of its
            images are in folders of splits; or as `load_images`.
    """
    if not found.metadata:
        rows = load_images(
            found,
            labelled=labelled,
            skip_unreadable=skip_unreadable,
            shown=shown,
            unwrap=unwrap,
        )
        return rows, found.left_out
    found.require_read(shown, [])
    splits = _by_split(_listed_rows(found, shown), found.folder, shown)
    left_out = left_out_of(found, splits.values(), skip_unreadable=skip_unreadable, shown=shown)
    if not skip_unreadable:
        refuse_lost(left_out, shown=shown)
    return splits, left_out


def load_images(
    found: ImageFolder,
    *,
    labelled: bool,
    skip_unreadable: bool,
    shown: str,
    unwrap: bool = False,
) -> datasets.DatasetDict:
    """Return the images of a folder by split, as rows of path and label.

    Args:
        found: From `find_images` or `listed_images`; no file is read.
        labelled: Whether every image must have a class. Otherwise the rows have no label if one
            has none.
        skip_unreadable: Whether to skip images in unsupported formats, and folders without images.
        shown: The folder as the user named it.
        unwrap: As for `splits_of`.

    Raises:
        UserError: An image has no class or an unsupported format; a folder at the level of classes
            has no images; or a link leads out of the folder.
    """
    import datasets as hf

    found.require_read(shown, found.not_read if not skip_unreadable else [])
    if not found.images:
        raise UserError(f"{shown}: contains no image in a supported format; convert them")
    try:
        splits = splits_of(found.images, shown, unwrap=unwrap)
    except UserError:
        if labelled:
            raise
        return _without_labels(found, shown)
    if not skip_unreadable:
        refuse_lost(found.left_out, shown=shown)
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


def _without_labels(found: ImageFolder, shown: str) -> datasets.DatasetDict:
    import datasets as hf

    features = hf.Features({"image": hf.Image(decode=False)})
    splits: dict[str, list[str]] = {}
    names = folder_splits([path.parts for path in found.images], shown)
    for path, split in zip(found.images, names, strict=True):
        splits.setdefault(split, []).append(str(found.folder / path))
    return hf.DatasetDict(
        {
            split: hf.Dataset.from_dict({"image": paths}, features=features)
            for split, paths in splits.items()
        }
    )


def _listed_rows(found: ImageFolder, shown: str) -> datasets.Dataset:
    """Return the rows of all metadata files, in the order of their paths."""
    import datasets as hf

    # One by one: datasets reads several in another order each time.
    parts = [
        load_files(
            f"{shown}/{path}",
            IMAGES,
            data_files={"train": [str(found.folder / path)]},
            metadata_filenames=[path.name],
        )["train"]
        for path in sorted(found.metadata)
    ]
    try:
        return hf.concatenate_datasets(parts)
    except ValueError as error:
        raise UserError(
            f"{shown}: its {len(parts)} metadata files do not have the same columns "
            f"({first_line(error)})"
        ) from None


def _by_split(rows: datasets.Dataset, folder: Path, shown: str) -> datasets.DatasetDict:
    """Divide rows by the folders of their images."""
    import datasets as hf

    files = _files_of(rows, folder)
    splits = dict(zip(files, folder_splits([*files.values()], shown), strict=True))
    found: dict[str, list[int]] = {}
    for row in range(len(rows)):
        found.setdefault(splits.get(row, "train"), []).append(row)
    if len(found) < 2:
        return hf.DatasetDict({next(iter(found), "train"): rows})
    return hf.DatasetDict({split: rows.select(found[split]) for split in sorted(found)})


def _files_of(rows: datasets.Dataset, folder: Path) -> dict[int, Sequence[str]]:
    """Return the parts of the path of each row's image inside a folder, by row."""
    import datasets as hf

    columns = [name for name, kind in rows.features.items() if isinstance(kind, hf.Image)]
    home = place_of(f"{folder}/")
    paths = (
        item["path"] if item else None
        for name in columns[:1]
        for chunk in rows.data.column(name).chunks
        for item in chunk.to_pylist()
    )
    return {
        row: place_of(path).removeprefix(home).split("/") for row, path in enumerate(paths) if path
    }
