"""Several datasets in one run: join them, hold out a part of each, and mix them in an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import UserError
from factory.common.text import some
from factory.data.class_names import find_names
from factory.data.folder_level import refuse_level_above
from factory.data.label_map import LabelMap, UnmatchedLabelsError, suggested_map
from factory.data.open import OpenedDataset
from factory.data.pixels import labelled_sha256
from factory.data.row_subsets import check_labels, hold_out
from train.data import Labelled, LabelledPixels

_MIX_STREAM = 4
_CHUNK = 4096

Rows = NDArray[np.int64]


def check_classes(opened: Sequence[OpenedDataset], label_map: LabelMap | None) -> None:
    """Check that all classes of further datasets are classes of the first; decode nothing.

    Raises:
        UserError: As `translated`; or the label map has an unknown label or class.
    """
    first, *others = opened
    if label_map is not None:
        names = [name for one in others for name in one.label_names]
        known = dict.fromkeys(names)
        shown = " and ".join(one.reference for one in others)
        label_map.check([*known], first.label_names, real=shown, model=first.reference)
    for one in others:
        translated(check_labels(one), opened=one, first=first, label_map=label_map)


def joined(
    parts: Sequence[LabelledPixels], opened: Sequence[OpenedDataset], label_map: LabelMap | None
) -> LabelledPixels:
    """Return datasets as one, with the labels of the first; the hash covers all of them.

    Raises:
        UserError: A dataset has images of a class that the first one does not have.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    labels = np.concatenate(
        [
            translated(part.labels, opened=one, first=opened[0], label_map=label_map)
            if number
            else part.labels
            for number, (part, one) in enumerate(zip(parts, opened, strict=True))
        ]
    )
    pixels = np.concatenate([part.pixels for part in parts])
    chunks = (pixels[start : start + _CHUNK] for start in range(0, len(pixels), _CHUNK))
    return LabelledPixels(
        pixels,
        labels,
        first.label_names,
        labelled_sha256(labels, chunks),
        sizes=tuple(len(part.labels) for part in parts),
    )


def translated(
    labels: Rows, *, opened: OpenedDataset, first: OpenedDataset, label_map: LabelMap | None
) -> Rows:
    """Return the labels of a dataset as positions among the class names of the first one.

    Args:
        labels: Shape (N,).
        opened: The dataset.
        first: The first one.
        label_map: Applied first; labels not in it are matched as without a map.

    Raises:
        UnmatchedLabelsError: A class with images is not one of the first dataset.
        UserError: Its folder contains those of classes.
    """
    own, names = opened.label_names, first.label_names
    present = sorted(set(labels.tolist()))
    pairs = label_map.pairs if label_map else {}
    found, _ = find_names(own, names, present=present, pairs=pairs)
    unknown = [own[label] for label in present if found[label] is None]
    if unknown:
        refuse_level_above(opened, unknown, names)
        used = set(found)
        raise UnmatchedLabelsError(
            f"{opened.reference}: its classes {some(unknown)} are not classes of "
            f"{first.reference} ({some(names)})",
            suggested_map(unknown, [name for at, name in enumerate(names) if at not in used]),
            given=label_map,
            otherwise="leave out their images",
        )
    places = np.array([-1 if place is None else place for place in found], dtype=np.int64)
    positions: Rows = places[labels]
    return positions


def parts_of(data: Labelled) -> Iterator[slice]:
    """Yield the rows of each dataset."""
    start = 0
    for size in data.sizes or (len(data.labels),):
        yield slice(start, start + size)
        start += size


def split_each(
    data: Labelled, *, fraction: float, seed: int, count: int | None
) -> tuple[list[Rows], list[Rows]]:
    """Split rows into a training and a held-out part, separately for each dataset.

    With `count`, that many rows of all datasets together are held out.

    Returns:
        For each dataset its rows to train on, and its rows held out; ascending.
    """
    bounds = list(parts_of(data))
    # Images with several labels are of no single class, so they are held out from the whole.
    labels = data.labels if data.labels.ndim == 1 else np.zeros(len(data.labels), dtype=np.int64)
    if count is not None:
        train, held = hold_out(labels, fraction=fraction, seed=seed, count=count)
        return [_within(train, one) for one in bounds], [_within(held, one) for one in bounds]
    split = [hold_out(labels[one], fraction=fraction, seed=seed) for one in bounds]
    return (
        [train + one.start for (train, _), one in zip(split, bounds, strict=True)],
        [held + one.start for (_, held), one in zip(split, bounds, strict=True)],
    )


def _within(rows: Rows, bounds: slice) -> Rows:
    inside: Rows = rows[(rows >= bounds.start) & (rows < bounds.stop)]
    return inside


def rows_of_epoch(
    parts: Sequence[Rows],
    *,
    shares: Sequence[float] | None,
    num_rows: int,
    seed: int,
    epoch: int,
    balanced: Rows | None = None,
) -> Rows:
    """Return the rows of an epoch, as many as there are training rows.

    A dataset or class with fewer images than its share repeats them: all equally often, up to one.
    A repeated row has a number of its own, so that its augmentation differs: the number modulo
    `num_rows` is the row.

    Args:
        parts: Training rows of each dataset.
        shares: Part of the epoch of each dataset, in sum 1; None for every row once.
        num_rows: Rows of all datasets, held-out ones included.
        seed: The run's seed.
        epoch: From 0.
        balanced: Labels of all rows, to give all classes of a share equally many images; None to
            leave classes as they are.
    """
    rows = np.concatenate(parts)
    if shares is None and balanced is None:
        return rows
    groups = [(rows, len(rows))]
    if shares is not None:
        groups = [*zip(parts, _counts(shares, len(rows)), strict=True)]
    if balanced is not None:
        groups = [one for group in groups for one in _by_class(*group, balanced)]
    chosen = []
    for number, (part, count) in enumerate(groups):
        rng = np.random.default_rng((_MIX_STREAM, seed, epoch, number))
        times, rest = divmod(count, len(part))
        whole = [part + num_rows * time for time in range(times)]
        chosen += [*whole, rng.permutation(part)[:rest] + num_rows * times]
    return np.concatenate(chosen)


def _by_class(rows: Rows, count: int, labels: Rows) -> list[tuple[Rows, int]]:
    """Return the rows of each class that has any, with its equal share of a number of images."""
    present = np.unique(labels[rows])
    counts = _counts([1 / len(present)] * len(present), count)
    return [(rows[labels[rows] == label], one) for label, one in zip(present, counts, strict=True)]


def check_mix(parts: Sequence[Rows], shares: Sequence[float] | None) -> None:
    """Check that every dataset has training images and a share of at least one of them.

    Raises:
        UserError: One has not.
    """
    if shares is None:
        return
    counts = _counts(shares, sum(map(len, parts)))
    for number, (part, count) in enumerate(zip(parts, counts, strict=True), 1):
        if not len(part) or not count:
            raise UserError(
                f"--mix: dataset {number} has {len(part)} training images and a share of {count} "
                "in an epoch; raise its share, or hold out fewer images"
            )


def _counts(shares: Sequence[float], num_rows: int) -> list[int]:
    """Return how many images of each dataset an epoch has; in sum `num_rows`."""
    ends = np.round(np.cumsum(shares) * num_rows).astype(np.int64)
    counts: list[int] = np.diff(ends, prepend=0).tolist()
    return counts


def short_name(reference: str, config_name: str | None) -> str:
    """Return a dataset's name for messages: its config, else the last part of its reference."""
    if config_name not in (None, "default"):
        return str(config_name)
    return PurePath(reference.partition("@")[0]).name or reference
