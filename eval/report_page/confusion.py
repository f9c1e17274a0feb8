"""Confusion matrices, and images of the classes that are confused most often."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.report_page.classes import groups
from eval.report_page.dataset import Dataset
from eval.report_page.runs import Run, Runs
from eval.report_page.thumbnails import SIDE, Thumbnail, thumbnail
from factory.common.errors import UserError
from factory.common.row_images import read_image
from factory.data.class_names import find_names

if TYPE_CHECKING:
    from eval.real import RealImages

MOST_CLASSES, MOST_PAIRS, IMAGES = 30, 3, 4


@dataclass(frozen=True)
class Pair:
    """Images of one class that are taken for another.

    Attributes:
        true: The class.
        predicted: The class that the model sees.
        share: Share of the class's images, in per cent.
        mistaken: Real images of `true` that were classified as `predicted`.
        others: Synthetic images of `predicted`.
        own: Synthetic images of `true`.
    """

    true: str
    predicted: str
    share: float
    mistaken: list[Thumbnail]
    others: list[Thumbnail]
    own: list[Thumbnail]


@dataclass(frozen=True)
class Matrix:
    """Confusion matrix of one row: shares of each true class, in per cent, over all runs.

    Attributes:
        names: Classes of the columns; the first `num_rows` are those of the rows.
        hidden: Number of classes that are not shown.
    """

    real: str
    architecture: str
    row: str
    runs: int
    names: list[str]
    num_rows: int
    shares: list[list[float]]
    hidden: int
    pairs: list[Pair]
    note: str


def matrices(
    runs: Runs,
    *,
    dataset: Dataset,
    real: RealImages | None,
    order: Sequence[str],
    with_images: Collection[str],
) -> list[Matrix]:
    """Return the matrix of every row.

    Args:
        runs: All runs.
        dataset: The synthetic images.
        real: The real images; None: confused images are not shown.
        order: The rows, in order.
        with_images: Rows with images of their most confused pairs.
    """
    found = []
    for name, architecture in product(runs.reals, runs.architectures):
        own = groups(runs.scored, name, architecture)
        for row in [one for one in order if one in own]:
            shown = row in with_images
            found.append(_matrix(own[row], row, dataset, real if shown else None, shown=shown))
    return found


def _matrix(
    group: Sequence[Run], row: str, dataset: Dataset, real: RealImages | None, *, shown: bool
) -> Matrix:
    scores = group[0].scores
    names, num_real = scores.labels.names, scores.labels.num_real
    alike = [run for run in group if run.scores.labels.names == names]
    counts = np.sum([np.array(run.scores.metrics.confusion_matrix) for run in alike], axis=0)
    totals = counts.sum(axis=1, keepdims=True)
    shares = 100 * counts / np.maximum(totals, 1)
    rows, columns = _shown_classes(shares, num_real)
    worst = _worst_pairs(shares)[:MOST_PAIRS]
    pairs = [
        _pair(names[i], names[j], float(shares[i, j]), alike, dataset, real, row)
        for i, j in worst
        if shown
    ]
    return Matrix(
        *(scores.real.name, scores.model.architecture, row, len(alike)),
        names=[names[place] for place in columns],
        num_rows=len(rows),
        shares=shares[np.ix_(rows, columns)].round(1).tolist(),
        hidden=len(names) - len(columns),
        pairs=pairs,
        note=_note(alike, real) if pairs else "",
    )


def _shown_classes(shares: Any, num_real: int) -> tuple[list[int], list[int]]:
    """Return the rows and columns to show: all classes, or those with the most confusions."""
    total = shares.shape[1]
    if total <= MOST_CLASSES:
        return list(range(num_real)), list(range(total))
    involved: list[int] = []
    for pair in _worst_pairs(shares):
        involved += [place for place in pair if place not in involved]
        if len(involved) >= MOST_CLASSES:
            break
    chosen = sorted(involved[:MOST_CLASSES])
    return [place for place in chosen if place < num_real], chosen


def _worst_pairs(shares: Any) -> list[tuple[int, int]]:
    errors = shares.copy()
    np.fill_diagonal(errors, 0)
    order = np.argsort(-errors, axis=None, kind="stable")
    places = zip(*np.unravel_index(order, errors.shape), strict=True)
    return [(int(i), int(j)) for i, j in places if errors[i, j] > 0]


def _pair(
    true: str,
    predicted: str,
    share: float,
    group: Sequence[Run],
    dataset: Dataset,
    real: RealImages | None,
    row: str,
) -> Pair:
    return Pair(
        *(true, predicted, share),
        mistaken=_mistaken(group, true, predicted, real) if real else [],
        others=_synthetic(dataset, row, predicted),
        own=_synthetic(dataset, row, true),
    )


def _mistaken(group: Sequence[Run], true: str, predicted: str, real: RealImages) -> list[Thumbnail]:
    """Return real images that the most runs confuse."""
    votes: dict[int, int] = {}
    for run in group:
        if _is_of(run, real) and run.predictions is not None:
            columns = (run.predictions[name].to_pylist() for name in ("row", "label", "predicted"))
            for place, label, seen in zip(*columns, strict=True):
                if (label, seen) == (true, predicted):
                    votes[place] = votes.get(place, 0) + 1
    places = sorted(votes, key=lambda place: (-votes[place], place))[:IMAGES]
    opened = real.opened
    return [
        thumbnail(
            read_image(
                opened.dataset[place][opened.image_column],
                where=f"{opened.shown}: row {place}",
                folder=opened.image_folder,
            )
        )
        for place in places
    ]


def _is_of(run: Run, real: RealImages) -> bool:
    """Return whether a run was scored on these real images, as far as counts and classes show."""
    known = run.scores.real
    same = known.num_images == len(real.labels)
    return same and set(real.opened.label_names) <= set(run.scores.labels.names)


def _note(group: Sequence[Run], real: RealImages | None) -> str:
    if real is None:
        return "Give --real to see the real images that were confused."
    if not any(run.predictions is not None for run in group):
        return (
            "No predictions were saved, so the confused real images are unknown: "
            "score the runs again with --save-predictions."
        )
    if not any(_is_of(run, real) for run in group):
        return f"The runs were not scored on all images of {real.name}, so none are shown."
    return ""


def _synthetic(dataset: Dataset, row: str, name: str) -> list[Thumbnail]:
    """Return the first synthetic images of a class, of the row's config if the dataset has it."""
    entry = dataset.manifest.configs.get(row)
    known = [one for one in (row, *(entry.members if entry else ())) if one in dataset.stored]
    config = (known or dataset.stored)[0]
    (place,), _ = find_names([name], dataset.labels, present=[0])
    if place is None:
        return []
    labels = dataset.values(config, "label")
    rows = [at for at, label in enumerate(labels) if label == place][:IMAGES]
    try:
        found = dataset.images(config, rows, side=SIDE)
    except UserError:
        return []
    return [thumbnail(found[at]) for at in rows]
