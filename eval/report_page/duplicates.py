"""Near-duplicates, with the images that they repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eval.report_page.dataset import Dataset
from eval.report_page.sheets import MOST_CHECKED, ImageEntry, entries_of
from factory.data.columns import DIFFERENCE_HASH, EMBEDDING_HASH, INDEX


@dataclass(frozen=True)
class Measure:
    """A gate that finds near-duplicates, by its columns.

    Attributes:
        compares: The parts of two images that it compares.
        duplicate: Column of its flag.
        of: Column with the index of the earlier image.
    """

    compares: str
    duplicate: str
    of: str

    @property
    def other_label(self) -> str:
        """Column of its flag for images of another class."""
        return f"{self.duplicate}_other_label"


MEASURES = (
    Measure("pixels", "near_duplicate", "near_duplicate_of"),
    Measure("embeddings", "embedding_duplicate", "embedding_nearest"),
)
HASHES = (EMBEDDING_HASH, DIFFERENCE_HASH)
"""Columns that similar images are found by, the better one first."""
IDENTIFIERS = frozenset({*HASHES, *(one.of for one in MEASURES)})
"""Columns of numbers that name something: a histogram of them says nothing."""


@dataclass(frozen=True)
class Pair:
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
        compares: The parts of two images that were compared.
        counts: By config: number of near-duplicates, and of those with another label.
        pairs: The pairs that are shown.
        total: Number of near-duplicates.
        across: Number of them with another label.
    """

    compares: str
    counts: dict[str, tuple[int, int]]
    pairs: list[Pair]

    @property
    def total(self) -> int:
        """Number of near-duplicates."""
        return sum(count for count, _ in self.counts.values())

    @property
    def across(self) -> int:
        """Number of near-duplicates of another class's image."""
        return sum(count for _, count in self.counts.values())


def duplicates(dataset: Dataset) -> list[Duplicates]:
    """Return the near-duplicates by each measure that was used."""
    columns = {name for gate in dataset.manifest.gates.values() for name in gate.columns}
    return [_duplicates(dataset, one) for one in MEASURES if one.duplicate in columns]


def _duplicates(dataset: Dataset, measure: Measure) -> Duplicates:
    counts, found = {}, []
    for config in dataset.generated:
        flags = dataset.values(config, measure.duplicate)
        others = dataset.values(config, measure.other_label)
        flagged = [place for place, flag in enumerate(flags) if flag]
        counts[config] = len(flagged), sum(bool(others[place]) for place in flagged)
        found += [(not others[place], config, place) for place in flagged]
    chosen = sorted(found)[:MOST_CHECKED]
    pairs: list[Pair] = []
    for config in dict.fromkeys(config for _, config, _ in chosen):
        places = [place for _, name, place in chosen if name == config]
        pairs += _pairs(dataset, config, places, of=measure.of)
    pairs.sort(key=lambda pair: not pair.other_label)
    return Duplicates(measure.compares, counts, pairs)


def _pairs(dataset: Dataset, config: str, places: Sequence[int], *, of: str) -> list[Pair]:
    indexes = dataset.values(config, INDEX)
    at = {index: place for place, index in enumerate(indexes) if isinstance(index, int)}
    earlier = dataset.values(config, of)
    known = [
        (at[first], place)
        for place in places
        if isinstance(first := earlier[place], int) and first in at
    ]
    entries = entries_of(dataset, config, [place for pair in known for place in pair])
    return [Pair(entries[first], entries[second]) for first, second in known]
