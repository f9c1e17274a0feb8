"""Derive class and split of the images in a folder from the folders that contain them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath

from factory.common.errors import UserError

SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
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
        unwrap: Look into an only folder that holds the classes or splits, as for a repository of
            the Hub, of which no folder can be named; else it is refused.

    Raises:
        UserError: An image has no class, or splits are at the wrong level.
    """
    loose = [path for path in images if len(path.parts) == 1]
    if len(loose) == len(images):
        raise UserError(
            f"{shown}: its {len(loose):,} images are not in class folders, so they have no labels; "
            "move the images of each class into a folder with its name, or write their labels into "
            "a CSV file there (columns path and label) and name that file"
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
    if len(splits) < len(tops):
        raise UserError(
            f"{shown}: several folders are the same split ({', '.join(sorted(tops))}); keep one"
        )
    return splits


def _refuse_splits_beside(images: Sequence[PurePosixPath], tops: set[str], shown: str) -> None:
    """Reject split folders with class folders beside other folders: they would become classes."""
    direct = {path.parts[0] for path in images if len(path.parts) == 2}
    splits = sorted(top for top in tops - direct if top.lower() in SPLITS)
    if len(splits) > 1:
        others = ", ".join(sorted(tops - set(splits)))
        raise UserError(
            f"{shown}: contains splits ({', '.join(splits)}) beside other folders ({others}); move "
            "the others out of the dataset"
        )


def _wrapper_of(images: Sequence[PurePosixPath]) -> str:
    """Return the only folder where it holds the classes or splits, as in unpacked archives."""
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
    seconds = {path.parts[1] if len(path.parts) > 2 else "" for path in images}
    if len(seconds) > 1 and all(second.lower() in SPLITS for second in seconds):
        first = images[0]
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
