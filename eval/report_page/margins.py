"""The images that match their class or prompt least."""

from __future__ import annotations

import math
from dataclasses import dataclass

from eval.report_page.dataset import Dataset
from eval.report_page.sheets import MOST_CHECKED, ImageEntry, entries_of

SCORE = "clip_score"
ISSUE, QUALITY = "label_issue", "label_quality"


@dataclass(frozen=True)
class Lowest:
    """The images with the lowest values of a measured column, with the values."""

    column: str
    entries: list[tuple[ImageEntry, float]]


def lowest(dataset: Dataset) -> Lowest | None:
    """Return the images with the lowest class margin, or else label quality, or else CLIP score.

    A class margin is a column of a gate whose name ends in `margin`.
    """
    column = _measured(dataset)
    if column is None:
        return None
    found = [
        (value, config, place)
        for config in dataset.generated
        for place, value in enumerate(dataset.values(config, column))
        if isinstance(value, float) and math.isfinite(value)
    ]
    chosen = sorted(found)[:MOST_CHECKED]
    entries: dict[tuple[str, int], ImageEntry] = {}
    for config in {config for _, config, _ in chosen}:
        places = [place for _, name, place in chosen if name == config]
        own = entries_of(dataset, config, places)
        entries |= {(config, place): entry for place, entry in own.items()}
    return Lowest(column, [(entries[config, place], value) for value, config, place in chosen])


def _measured(dataset: Dataset) -> str | None:
    columns = [name for gate in dataset.manifest.gates.values() for name in gate.columns]
    margins = sorted(name for name in columns if name.endswith("margin"))
    return next(iter([*margins, *(name for name in (QUALITY, SCORE) if name in columns)]), None)
