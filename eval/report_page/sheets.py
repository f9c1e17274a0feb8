"""Contact sheets: the first images of each config, with their metadata rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eval.report_page import text
from eval.report_page.dataset import Dataset
from eval.report_page.thumbnails import SIDE, Thumbnail, thumbnail
from factory.common.errors import UserError
from factory.data.columns import INDEX, LABEL

MOST_CHECKED = 24
"""Near-duplicates, and weakest images, that the page shows."""

MOST_IMAGES, MOST_PER_CONFIG, LEAST_PER_CONFIG = 1600, 120, 12


@dataclass(frozen=True)
class ImageEntry:
    """An image of a sheet; `row` is its metadata as texts."""

    image: Thumbnail
    config: str
    label: str
    row: dict[str, str]

    @property
    def alt(self) -> str:
        """Text for readers who do not see the image."""
        return f"{text.name(self.label)}, image {self.row.get(INDEX, '?')} of {self.config}"


@dataclass(frozen=True)
class Strip:
    """Images of one class."""

    label: str
    entries: list[ImageEntry]


@dataclass(frozen=True)
class Sheet:
    """Contact sheet of one config, out of `rows` images."""

    config: str
    rows: int
    strips: list[Strip]
    fault: str = ""

    @property
    def count(self) -> int:
        """Number of images shown."""
        return sum(len(strip.entries) for strip in self.strips)


@dataclass(frozen=True)
class Sheets:
    """All sheets, and the configs without one because there are too many."""

    sheets: list[Sheet]
    hidden: list[str]


def per_config(configs: int) -> int:
    """Return the number of images of each sheet, so that all sheets have at most 1,600."""
    return min(max(MOST_IMAGES // max(configs, 1), LEAST_PER_CONFIG), MOST_PER_CONFIG)


def contact_sheets(dataset: Dataset) -> Sheets:
    """Return a sheet for each config with files of its own.

    Rows alternate between classes, so the first rows show all classes alike, and only the start of
    the first file is read.
    """
    most = per_config(len(dataset.stored))
    shown = dataset.stored[: MOST_IMAGES // most]
    return Sheets([_sheet(dataset, name, most) for name in shown], dataset.stored[len(shown) :])


def _sheet(dataset: Dataset, config: str, most: int) -> Sheet:
    total = dataset.columns(config).num_rows
    classes = len(dataset.labels)
    places = list(range(min(most // classes * classes or most, total)))
    try:
        images = dataset.images(config, places, side=SIDE)
    except UserError as error:
        return Sheet(config, total, [], fault=str(error))
    by_label: dict[int, list[ImageEntry]] = {}
    for place, row in zip(places, dataset.rows_at(config, places), strict=True):
        entry = make_entry(dataset, config, row, thumbnail(images[place]))
        by_label.setdefault(_label(row), []).append(entry)
    strips = [Strip(by_label[label][0].label, by_label[label]) for label in sorted(by_label)]
    return Sheet(config, total, strips)


def make_entry(dataset: Dataset, config: str, row: dict[str, Any], image: Thumbnail) -> ImageEntry:
    """Return an image with its row as texts."""
    label, names = _label(row), dataset.labels
    name = names[label] if 0 <= label < len(names) else f"label {label}"
    return ImageEntry(image, config, name, {key: text.value(found) for key, found in row.items()})


def entries_of(dataset: Dataset, config: str, places: Sequence[int]) -> dict[int, ImageEntry]:
    """Return some images of a config with their rows, by place."""
    unique = sorted(set(places))
    images = dataset.images(config, unique, side=SIDE)
    rows: list[dict[str, Any]] = dataset.rows_at(config, unique)
    return {
        place: make_entry(dataset, config, row, thumbnail(images[place]))
        for place, row in zip(unique, rows, strict=True)
    }


def _label(row: dict[str, Any]) -> int:
    found = row.get(LABEL)
    return found if isinstance(found, int) else -1
