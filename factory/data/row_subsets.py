"""Choose the rows that a run trains on and holds out, from labels and seed alone.

The choice does not depend on the number of processes, and can be repeated after training.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from factory.common.errors import UserError
from factory.common.text import plural
from factory.data.folder_level import level_hint
from factory.data.open import OpenedDataset
from factory.data.row_filter import is_comparable

_SPLIT_STREAM = 2
_SUBSET_STREAM = 3


class MixedSource(BaseModel):
    """One of several datasets of a run.

    Attributes:
        reference: Directory, Hub id or `hf://` path, as given.
        config_name: Config of the dataset.
        split: Split of the dataset.
        commit: Commit of a Hub id when it was read; None for a directory.
        real: Whether it was given as real images (`--real-train`).
        num_images: Its rows, the held-out part included.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str
    config_name: str | None = None
    split: str | None = None
    commit: str | None = None
    real: bool = False
    num_images: int


class DataSource(BaseModel):
    """The training rows of a run; of several datasets the first one's keys, and all counts.

    Attributes:
        reference: Directory, Hub id or `hf://` path, as given.
        config_name: Config of the dataset.
        split: Split of the dataset.
        row_filter: Expression over metadata columns that keeps a row, or None.
        images_per_class: Rows sampled per class after filtering, or None for all.
        image_column: Column of images.
        label_column: Column of labels.
        several_labels: Whether it has a list of labels per image.
        label_names: Class names; the position is the label.
        num_images: Rows after filtering, the held-out part included.
        num_unreadable: Rows skipped by `--skip-unreadable`.
        pixels_sha256: Hash of labels and all decoded pixels, or all encoded images if a run reads
            them from their files.
        commit: Commit of a Hub id when it was read; None for a directory.
        class_counts: Images per class, held-out ones included; None in older runs.
        left_out: Files of an image folder that were not read, by suffix.
        label_map: Map of the labels of further datasets to classes of the first, or None.
        sources: Each dataset, if there are several, in the order of their rows.
        num_real_images: Rows of datasets that were given as real images.
        sampling: See `factory.data.sampling_record.sampling_of`; of several datasets all records,
            by number and config. Older runs lack it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str
    config_name: str | None = None
    split: str | None = None
    row_filter: str | None = None
    images_per_class: int | None = None
    image_column: str
    label_column: str
    several_labels: bool = False
    label_names: tuple[str, ...]
    num_images: int
    num_unreadable: int = 0
    pixels_sha256: str
    commit: str | None = None
    class_counts: dict[str, int] | None = None
    left_out: dict[str, int] = {}
    label_map: dict[str, str] | None = None
    sources: tuple[MixedSource, ...] = ()
    num_real_images: int = 0
    sampling: dict[str, dict[str, Any]] | None = None


def check_labels(opened: OpenedDataset) -> NDArray[np.int64]:
    """Return the labels of a dataset, shape (N,); reject a dataset that no classifier can learn.

    With several labels per image, the result has 1 for each of them, else 0, shape (N, C).

    Raises:
        UserError: A label is missing, or fewer than two classes have images.
    """
    if opened.several_labels:
        return _label_lists(opened)
    column = opened.dataset.with_format("numpy", columns=[opened.label_column])
    raw = column[:][opened.label_column]
    missing = [row for row, label in enumerate(raw) if label is None or not label >= 0]
    if missing:
        label = opened.label_column
        advice = f'leave them out with --filter "{label} >= 0"'
        if not is_comparable(label):
            advice = f"remove them, or rename {label!r}: --filter cannot compare a column so named"
        raise UserError(
            f"{opened.reference}: {plural(len(missing), 'row')} without a label, the first is "
            f"row {missing[0]}; {advice}"
        )
    labels = np.asarray(raw, dtype=np.int64)
    present = np.unique(labels)
    if len(present) < 2:
        found = ", ".join(opened.label_names[label] for label in present) or "none"
        raise UserError(
            f"{opened.reference}: a classifier needs images of at least two classes; found "
            f"{plural(len(labels), 'image')} of one class ({found}){level_hint(opened)}"
        )
    return labels


def _label_lists(opened: OpenedDataset) -> NDArray[np.int64]:
    rows = opened.dataset.select_columns([opened.label_column]).with_format(None)
    lists, numbers = rows[:][opened.label_column], opened.row_numbers
    labels = np.zeros((len(lists), len(opened.label_names)), dtype=np.int64)
    for row, found in enumerate(lists):
        # Labels below 0 are unknown, as in a `ClassLabel`; an empty list means none of the classes.
        if found is None or any(label is None or label < 0 for label in found):
            raise UserError(
                f"{opened.reference}: row {numbers[row] if numbers else row} has no label or an "
                f"unknown one in {opened.label_column!r}; correct it, or use --filter"
            )
        labels[row, found] = 1
    if np.count_nonzero(labels.any(axis=0)) < 2:
        raise UserError(
            f"{opened.reference}: a classifier needs images of at least two classes; the labels "
            f"in {opened.label_column!r} have fewer"
        )
    return labels


def take_per_class(opened: OpenedDataset, *, count: int, seed: int) -> OpenedDataset:
    """Sample the same number of rows of each class, to compare datasets of equal size.

    A larger sample with the same seed contains the smaller one's rows.

    Raises:
        UserError: A class has fewer rows, or images have several labels.
    """
    if count < 1:
        raise UserError(f"--images-per-class {count}: expected 1 or more")
    if opened.several_labels:
        raise UserError(
            f"{opened.reference}: column {opened.label_column!r} has several labels per image, and "
            "--images-per-class works with one only; remove it"
        )
    labels = check_labels(opened)
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < count:
            raise UserError(
                f"{opened.reference}: class {opened.label_names[label]} has "
                f"{plural(len(rows), 'image')}, but --images-per-class is {count}; lower it"
            )
        order = np.random.default_rng((_SUBSET_STREAM, seed, int(label))).permutation(rows)
        chosen.append(order[:count])
    return opened.keep(np.sort(np.concatenate(chosen)).tolist())


def hold_out(
    labels: NDArray[np.int64], *, fraction: float, seed: int, count: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split row numbers into a training and a held-out part, class by class.

    Each part gets at least one row of a class with two rows or more. With `count`, that many rows
    are sampled from all rows instead, whatever their classes.

    Args:
        labels: Shape (N,).
        fraction: Fraction of each class to hold out; 0 holds out nothing.
        seed: The run's seed.
        count: Total number of rows to hold out, or None.

    Returns:
        Row numbers to train on and row numbers held out, ascending.

    Raises:
        UserError: `count` leaves no rows for training.
    """
    if count is not None:
        return _hold_out_any(len(labels), count=count, seed=seed)
    held: list[NDArray[np.int64]] = []
    for label in np.unique(labels) if fraction else ():
        rows = np.flatnonzero(labels == label)
        order = np.random.default_rng((_SPLIT_STREAM, seed, int(label))).permutation(rows)
        count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
        held.append(order[:count])
    val = np.sort(np.concatenate(held)) if held else np.empty(0, dtype=np.int64)
    return np.setdiff1d(np.arange(len(labels)), val), val


def _hold_out_any(
    num_rows: int, *, count: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if count > num_rows - 2:
        raise UserError(
            f"holding out {count} of {num_rows} images leaves none for training; "
            "lower --val-images, or use --val-fraction"
        )
    order = np.random.default_rng((_SPLIT_STREAM, seed)).permutation(num_rows)
    return np.sort(order[count:]), np.sort(order[:count])
