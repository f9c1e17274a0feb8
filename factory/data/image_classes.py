"""Derive class and split of the images in a folder from the folders that contain them."""

import unicodedata
from collections.abc import Sequence
from itertools import takewhile
from pathlib import PurePosixPath

from factory.common.errors import UserError
from factory.common.text import agree, plural

SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "eval": "test",
    "evaluation": "test",
}
_WRAPPERS = "data dataset datasets image images img imgs photo photos picture pictures"
WRAPPERS = frozenset(_WRAPPERS.split())


def splits_of(
    images: Sequence[PurePosixPath], shown: str, *, unwrap: bool = False
) -> dict[str, list[tuple[PurePosixPath, str]]]:
    """Return the images of each split with their classes.

    Args:
        images: Paths inside the folder, sorted; at least one.
        shown: The folder as the user named it.
        unwrap: Whether to enter a single top folder that contains the classes or splits. Used for
            repositories of the Hub, where users cannot name the inner folder; otherwise an error.

    Raises:
        UserError: An image has no class, or splits are at the wrong level.
    """
    loose = [path for path in images if len(path.parts) == 1]
    if len(loose) == len(images):
        raise UserError(
            f"{shown}: its {plural(len(loose), 'image')} {agree(len(loose), 'is', 'are')} not in "
            "class folders, so there are no labels; move the images of each class into a folder "
            "with its name, or write their labels into a CSV file there (columns path and label) "
            "and name that file"
        )
    if loose:
        raise UserError(_without_class(shown, loose))
    tops = {path.parts[0] for path in images}
    if any(top.lower() not in SPLITS for top in tops):
        wrapper = _wrapper_of(images)
        if wrapper and unwrap:
            return _unwrapped(images, wrapper, shown)
        if wrapper:
            raise UserError(
                f"{shown}: its only folder is {wrapper}; name {shown}/{wrapper} instead"
            )
        _refuse_splits_beside(images, tops, shown)
        _refuse_inner_splits(images, shown)
        return {"train": [(path, _name(path.parts[0])) for path in images]}
    loose = [path for path in images if len(path.parts) == 2]
    if loose:
        raise UserError(_without_class(shown, loose))
    splits: dict[str, list[tuple[PurePosixPath, str]]] = {}
    for path in images:
        rows = splits.setdefault(SPLITS[path.parts[0].lower()], [])
        rows.append((path, _name(path.parts[1])))
    _refuse_same_split(tops, shown)
    return splits


def is_split(name: str) -> bool:
    """Return whether a folder's name is that of a split."""
    return name.lower() in SPLITS


def class_depth(images: Sequence[PurePosixPath]) -> int:
    """Return the level of the class folders: 1 at the top, 2 inside splits or a wrapper."""
    if images and all(path.parts[0].lower() in SPLITS for path in images):
        return 2
    wrapper = _wrapper_of(images) if images else ""
    return 1 + (class_depth([path.relative_to(wrapper) for path in images]) if wrapper else 0)


def folder_splits(files: Sequence[Sequence[str]], shown: str) -> list[str]:
    """Return the split of each file: its folder at the top, if all are in one that is a split's.

    Args:
        files: The parts of each path inside the dataset; folders that contain all files are passed
            over.
        shown: The dataset as the user named it.

    Raises:
        UserError: Only some files are in the folder of a split.
    """
    depth, tops = _tops(files)
    if all(top.lower() in SPLITS for top in tops):
        _refuse_same_split(set(tops), shown)
        return [SPLITS[top.lower()] for top in tops]
    folders = {name for file in files for name in file[depth:-1]}
    inner = {name for name in folders if name.lower() in SPLITS}
    if len({SPLITS[name.lower()] for name in inner}) > 1 or inner.intersection(tops):
        raise UserError(
            f"{shown}: only some images are in folders of splits ({', '.join(sorted(inner))}); "
            "put all into such folders at the top, or name the files of each split in the card "
            "(`configs` in README.md)"
        )
    return ["train"] * len(files)


def in_splits(files: Sequence[Sequence[str]]) -> bool:
    """Return whether all files are in folders of splits; see `folder_splits`."""
    return all(top.lower() in SPLITS for top in _tops(files)[1])


def _tops(files: Sequence[Sequence[str]]) -> tuple[int, list[str]]:
    """Return the level at which folders may be splits, and each file's folder there, or ``."""
    around = _common([tuple(file[:-1]) for file in files])
    depth = next((at for at, name in enumerate(around) if name.lower() in SPLITS), len(around))
    return depth, [file[depth] if len(file) > depth + 1 else "" for file in files]


def _common(folders: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the first parts that all paths share."""
    ends = zip(min(folders, default=()), max(folders, default=()), strict=False)
    return [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], ends)]


def _refuse_same_split(tops: set[str], shown: str) -> None:
    if len({SPLITS[top.lower()] for top in tops}) < len(tops):
        raise UserError(
            f"{shown}: several folders are the same split ({', '.join(sorted(tops))}); keep one"
        )


def _refuse_splits_beside(images: Sequence[PurePosixPath], tops: set[str], shown: str) -> None:
    """Reject split folders with class folders beside other folders: they would become classes."""
    direct = {path.parts[0] for path in images if len(path.parts) == 2}
    splits = sorted(top for top in tops - direct if top.lower() in SPLITS)
    if splits:
        others = ", ".join(sorted(tops - set(splits)))
        raise UserError(
            f"{shown}: contains splits ({', '.join(splits)}) beside other folders ({others}); move "
            "the others out of the dataset, or put the images of a class directly into its folder"
        )


def _wrapper_of(images: Sequence[PurePosixPath]) -> str:
    """Return the single top folder that contains classes or splits, as in unpacked archives."""
    top = images[0].parts[0]
    if any(path.parts[0] != top or len(path.parts) < 3 for path in images):
        return ""
    holds_splits = all(path.parts[1].lower() in SPLITS and len(path.parts) > 3 for path in images)
    return top if top.lower() in WRAPPERS or holds_splits else ""


def _unwrapped(
    images: Sequence[PurePosixPath], wrapper: str, shown: str
) -> dict[str, list[tuple[PurePosixPath, str]]]:
    inner = splits_of([path.relative_to(wrapper) for path in images], shown, unwrap=True)
    return {split: [(wrapper / path, name) for path, name in rows] for split, rows in inner.items()}


def _refuse_inner_splits(images: Sequence[PurePosixPath], shown: str) -> None:
    """Reject class folders that contain splits: test images would be used for training."""
    inner = [path for path in images if len(path.parts) > 2 and path.parts[1].lower() in SPLITS]
    seconds = {path.parts[1] for path in inner}
    if len(seconds) > 1:
        first = inner[0]
        raise UserError(
            f"{shown}: its class folders contain splits ({', '.join(sorted(seconds))}); put the "
            f"classes into the splits instead, e.g. {first.parts[1]}/{first.parts[0]}"
        )


def _name(part: str) -> str:
    # Apple file systems store accented letters in another Unicode form than people type.
    return unicodedata.normalize("NFC", part)


def _without_class(shown: str, loose: Sequence[PurePosixPath]) -> str:
    more = f" and {len(loose) - 1:,} more" if len(loose) > 1 else ""
    verb = "is" if len(loose) == 1 else "are"
    return (
        f"{shown}: {loose[0]}{more} {verb} not in a class folder, so there is no label; move the "
        "images into the folder of their class, or out of the dataset"
    )
