"""Datasets whose images have several labels each: their loss, and their scores per class."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import Fault, UserError
from factory.common.whole_files import replace_text
from factory.data.open import OpenedDataset
from train.options import TrainOptions
from train.settings import Hyperparameters

PER_CLASS = "per-class.csv"
_THRESHOLD = 0.5


class ClassScores(NamedTuple):
    """Scores of one class on held-out images; None without an image of it.

    Attributes:
        images: Held-out images with this label.
        average_precision: Mean precision at each of them, images sorted by probability.
        f1: Harmonic mean of precision and recall at a probability of 0.5.
    """

    images: int
    average_precision: float | None
    f1: float | None


def fit_to_labels(
    options: TrainOptions,
    values: Hyperparameters,
    opened: Sequence[OpenedDataset],
    *,
    note: Callable[[str], None],
) -> Hyperparameters:
    """Return the values for datasets with several labels per image; other datasets change nothing.

    Raises:
        UserError: An option is for one label per image only.
    """
    first = next((one for one in opened if one.several_labels), None)
    if first is None:
        return values
    excluded = {
        "several datasets": len(opened) > 1,
        "--teacher": options.teacher is not None,
        "--push": options.push_to is not None,
        "--balance-classes": values.balance_classes,
        "--mixup": values.mixup > 0,
        "--cutmix": values.cutmix > 0,
        "--label-smoothing": bool(options.overrides.get("label_smoothing")),
    }
    where = f"{first.reference}: column {first.label_column!r} has several labels per image"
    faults = [
        Fault(f"{where}, and {name} works with one only; remove it")
        for name, given in excluded.items()
        if given
    ]
    if faults:
        raise UserError(faults)
    changed: dict[str, float | bool] = {"label_smoothing": 0.0}
    if values.focal_gamma is None:
        changed["bce_loss"] = True
    loss = "focal loss" if values.focal_gamma is not None else "binary cross-entropy (--bce-loss)"
    note(f"{where}: trained with {loss}, without label smoothing; the best epoch is by mAP")
    return values.model_copy(update=changed)


def class_scores(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> list[ClassScores]:
    """Return the scores of each class.

    Args:
        logits: Shape (N, C).
        labels: 1 for the labels of an image, else 0; shape (N, C).
    """
    threshold = np.log(_THRESHOLD / (1 - _THRESHOLD))
    return [
        _scores(own, truth == 1, threshold) for own, truth in zip(logits.T, labels.T, strict=True)
    ]


def _scores(logits: NDArray[np.float32], truth: NDArray[np.bool_], threshold: float) -> ClassScores:
    images = int(truth.sum())
    if not images:
        return ClassScores(0, None, None)
    order = np.argsort(-logits, kind="stable")
    found = np.cumsum(truth[order])
    # Images of equal logits are found together.
    ends = np.flatnonzero(np.append(np.diff(logits[order]) != 0, True))
    gained = np.diff(found[ends], prepend=0)
    average_precision = float((gained * found[ends] / (ends + 1)).sum() / images)
    predicted = logits >= threshold
    f1 = 2 * int((predicted & truth).sum()) / (int(predicted.sum()) + images)
    return ClassScores(images, average_precision, f1)


def mean_average_precision(scores: Sequence[ClassScores]) -> float:
    """Return the mean over classes that have held-out images; 0 without any."""
    known = [one.average_precision for one in scores if one.average_precision is not None]
    return float(np.mean(known)) if known else 0.0


def write_class_scores(out: Path, names: Sequence[str], scores: Sequence[ClassScores]) -> None:
    """Write `per-class.csv`, a line per class; empty cells without held-out images of it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", *ClassScores._fields])
    for name, one in zip(names, scores, strict=True):
        cells = ["" if value is None else f"{value:.6g}" for value in one[1:]]
        writer.writerow([name, one.images, *cells])
    replace_text(out / PER_CLASS, text.getvalue())
