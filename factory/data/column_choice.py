"""Choose the split and the columns of images and labels, where the user names none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError
from factory.common.row_options import choose_one
from factory.common.text import suggest
from factory.data.library_state import quiet

if TYPE_CHECKING:
    import datasets

PREFERRED = {
    "image": ("image", "img", "picture"),
    "label": ("label", "labels", "fine_label", "class", "target"),
}


def choose_split(
    splits: Iterable[object], split: str | None, reference: str, *, preferred: str
) -> str:
    """Return the split that the user names, else the preferred one, the only one, or `train`.

    `splits` are the names of all splits.

    Raises:
        UserError: It does not exist, or must be named.
    """
    known = [str(name) for name in splits]
    if split is None:
        if preferred in known:
            return preferred
        if len(known) == 1:
            return known[0]
        if "train" in known:
            return "train"
        raise UserError(f"{reference}: {choose_one('split', known)}")
    if split not in known:
        raise UserError(f"{reference}: no split {split!r}; {suggest(split, known)}")
    return split


def columns_of_images(dataset: datasets.Dataset) -> list[str]:
    """Return the columns of images."""
    from datasets import Image

    return [name for name, feature in dataset.features.items() if isinstance(feature, Image)]


def choose_image_column(dataset: datasets.Dataset, column: str | None, reference: str) -> str:
    """Return the column of images: the one that the user names, `image`, or the only one.

    Raises:
        UserError: It does not exist, is of another type, or must be named.
    """
    return _choose_column(column, columns_of_images(dataset), dataset, reference, kind="image")


def choose_label_column(dataset: datasets.Dataset, column: str | None, reference: str) -> str:
    """Return the column of labels, which may be lists of them; see `choose_image_column`."""
    classes = [name for name, feature in dataset.features.items() if names_of(feature) is not None]
    lists = [name for name in classes if is_list(dataset.features[name])]
    found = [name for name in classes if name not in lists]
    if column is not None or not found:
        # A text or number column is accepted if the user names it, or it has a usual name.
        plain = [
            name for name, feature in dataset.features.items() if type(feature).__name__ == "Value"
        ]
        usual = [name for name in plain if name.lower() in PREFERRED["label"]]
        found += [column] if column in plain else usual if column is None else []
    if column is not None or not found:
        found += lists
    return _choose_column(column, found, dataset, reference, kind="label")


def names_of(feature: Any) -> list[str] | None:
    """Return the class names of a column of labels, or of lists of labels; else None."""
    named = feature.feature if is_list(feature) else feature
    names: list[str] | None = getattr(named, "names", None)
    return names


def is_list(feature: Any) -> bool:
    """Return whether a column has a list of values in each row."""
    from datasets import LargeList, List

    return isinstance(feature, List | LargeList)


def _choose_column(
    column: str | None, found: list[str], dataset: datasets.Dataset, reference: str, *, kind: str
) -> str:
    names: list[str] = dataset.column_names
    present = ", ".join(names)
    if column is not None:
        if column not in names:
            raise no_column(reference, column, names)
        if column not in found:
            feature = dataset.features[column]
            raise UserError(f"{reference}: column {column!r} is {feature}, not a column of {kind}s")
        return column
    lower = {name.lower(): name for name in reversed(found)}
    for name in PREFERRED[kind]:
        if name in lower:
            return lower[name]
    if len(found) == 1:
        return found[0]
    raise UserError(f"{reference}: no {kind} column among {present}; name it with --{kind}-column")


def no_column(reference: str, column: str, known: Iterable[str]) -> UserError:
    """Return the error about a column that a dataset lacks."""
    return UserError(f"{reference}: no column {column!r}; {suggest(column, known)}")


def with_class_label(dataset: datasets.Dataset, column: str, reference: str) -> datasets.Dataset:
    """Convert the label column to a `ClassLabel`; texts are numbered in sorted order.

    Integers below 0 mean that a row has no label, as in a `ClassLabel`.
    """
    import pyarrow.compute as pc

    names = names_of(dataset.features[column])
    if names is not None:
        labels = dataset.data.column(column)
        if is_list(dataset.features[column]):
            labels = pc.list_flatten(labels)
        highest = pc.max(labels).as_py()
        if highest is not None and highest >= len(names):
            raise UserError(
                f"{reference}: labels in {column!r} go up to {highest}, but only {len(names)} "
                "classes have names, counted from 0; correct the labels or the names"
            )
        return dataset
    dtype = str(dataset.features[column].dtype)
    if not dtype.startswith(("string", "large_string", "int", "uint", "bool")):
        raise UserError(f"{reference}: labels in {column!r} are {dtype}; expected text or integers")
    if dtype.startswith("int") and (pc.min(dataset.data.column(column)).as_py() or 0) < 0:
        known = [value if value is not None and value >= 0 else None for value in dataset[column]]
        feature = dataset.features[column]
        dataset = dataset.remove_columns(column).add_column(column, known, feature=feature)
    with quiet():
        return dataset.class_encode_column(column)
