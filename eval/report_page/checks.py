"""Images to look at: near-duplicates, and those that match their class or prompt least."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eval.report_page.dataset import Dataset
from eval.report_page.sheets import ImageEntry, make_entry
from eval.report_page.thumbnails import SIDE, thumbnail
from factory.data.columns import INDEX

DUPLICATE, DUPLICATE_OF = "near_duplicate", "near_duplicate_of"
OTHER_LABEL, SCORE = "near_duplicate_other_label", "clip_score"
MOST = 24


@dataclass(frozen=True)
class Twins:
    """An image and the earlier one that it nearly repeats."""

    first: ImageEntry
    second: ImageEntry

    @property
    def other_label(self) -> bool:
        """Whether the two have different labels.

        The column of the gate is also true if a third image, of another class, is alike.
        """
        return self.first.label != self.second.label


@dataclass(frozen=True)
class Duplicates:
    """Near-duplicates of all configs; those with different labels come first.

    Attributes:
        counts: By config: number of near-duplicates, and of those with another label.
        pairs: The pairs that are shown.
        total: Number of near-duplicates.
        across: Number of them with another label.
    """

    counts: dict[str, tuple[int, int]]
    pairs: list[Twins]

    @property
    def total(self) -> int:
        """Number of near-duplicates."""
        return sum(count for count, _ in self.counts.values())

    @property
    def across(self) -> int:
        """Number of near-duplicates of another class's image."""
        return sum(count for _, count in self.counts.values())


@dataclass(frozen=True)
class Lowest:
    """The images with the lowest values of a measured column, with the values."""

    column: str
    entries: list[tuple[ImageEntry, float]]


def duplicates(dataset: Dataset) -> Duplicates | None:
    """Return the near-duplicates; None if they were not measured."""
    if not any(DUPLICATE in gate.columns for gate in dataset.manifest.gates.values()):
        return None
    counts, found = {}, []
    for config in _own(dataset):
        flags, others = dataset.values(config, DUPLICATE), dataset.values(config, OTHER_LABEL)
        flagged = [place for place, flag in enumerate(flags) if flag]
        counts[config] = len(flagged), sum(bool(others[place]) for place in flagged)
        found += [(not others[place], config, place) for place in flagged]
    chosen = sorted(found)[:MOST]
    pairs: list[Twins] = []
    for config in dict.fromkeys(config for _, config, _ in chosen):
        pairs += _pairs(dataset, config, [place for _, name, place in chosen if name == config])
    pairs.sort(key=lambda pair: not pair.other_label)
    return Duplicates(counts, pairs)


def _own(dataset: Dataset) -> list[str]:
    return [name for name in dataset.stored if dataset.manifest.configs[name].kind == "set"]


def _pairs(dataset: Dataset, config: str, places: Sequence[int]) -> list[Twins]:
    indexes = dataset.values(config, INDEX)
    at = {index: place for place, index in enumerate(indexes) if isinstance(index, int)}
    earlier = dataset.values(config, DUPLICATE_OF)
    known = [
        (at[first], place)
        for place in places
        if isinstance(first := earlier[place], int) and first in at
    ]
    entries = entries_of(dataset, config, [place for pair in known for place in pair])
    return [Twins(entries[first], entries[second]) for first, second in known]


def entries_of(dataset: Dataset, config: str, places: Sequence[int]) -> dict[int, ImageEntry]:
    """Return some images of a config with their rows, by place."""
    unique = sorted(set(places))
    images = dataset.images(config, unique, side=SIDE)
    rows: list[dict[str, Any]] = dataset.rows_at(config, unique)
    return {
        place: make_entry(dataset, config, row, thumbnail(images[place]))
        for place, row in zip(unique, rows, strict=True)
    }


def lowest(dataset: Dataset) -> Lowest | None:
    """Return the images with the lowest class margin, or else the lowest CLIP score.

    A class margin is a column of a gate whose name ends in `margin`.
    """
    column = _measured(dataset)
    if column is None:
        return None
    found = [
        (value, config, place)
        for config in _own(dataset)
        for place, value in enumerate(dataset.values(config, column))
        if isinstance(value, float) and math.isfinite(value)
    ]
    chosen = sorted(found)[:MOST]
    entries: dict[tuple[str, int], ImageEntry] = {}
    for config in {config for _, config, _ in chosen}:
        places = [place for _, name, place in chosen if name == config]
        own = entries_of(dataset, config, places)
        entries |= {(config, place): entry for place, entry in own.items()}
    return Lowest(column, [(entries[config, place], value) for value, config, place in chosen])


def _measured(dataset: Dataset) -> str | None:
    columns = [name for gate in dataset.manifest.gates.values() for name in gate.columns]
    margins = sorted(name for name in columns if name.endswith("margin"))
    return next(iter([*margins, *(name for name in columns if name == SCORE)]), None)
