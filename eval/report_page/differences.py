"""Differences of rows to the base row, with intervals.

Rows with predictions are compared image by image, over the same image seeds and training seeds, as
in a study (`eval.study.statistics`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from eval.intervals import share_difference
from eval.report_page.runs import Run
from eval.study.statistics import (
    Cell,
    Estimate,
    Spread,
    difference,
    holm,
    spread_of_differences,
)
from eval.study.statistics import Runs as Cells

LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """A difference to the base row, in points.

    Attributes:
        value: The difference.
        low: Lower end of the 95 % interval; None if it is unknown.
        high: Upper end.
        p: Holm's corrected p-value; None if it was not tested.
        covers: Sources of error in the interval.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None
    covers: str

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is below 0.05."""
        return self.p is not None and self.p < LEVEL

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and self.low * self.high > 0


def _cells_of(group: Sequence[Run], sources: Sequence[str]) -> Cells:
    """Return which images each run classifies correctly, by source and training seed."""
    found: dict[Cell, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
    for run in group:
        table = run.predictions
        if table is not None:
            right = table["correct"].to_numpy(zero_copy_only=False)
            found[sources.index(run.source), run.seed] = np.asarray(right, dtype=np.float64)
    return found


def differences(
    own: Mapping[str, Sequence[Run]], *, base: str, shares: set[str]
) -> dict[str, Difference]:
    """Return the difference of each row to the base row.

    Args:
        own: The runs of each row, with one architecture on one real dataset.
        base: One of the rows.
        shares: Rows whose images are also those of other rows; they vary less than others, so
            their spread is not used.
    """
    sources = _sources(own)
    cells = {row: _cells_of(group, sources) for row, group in own.items()}
    paired = {
        row: found
        for row, found in cells.items()
        if len(found) == len(own[row]) and set(found) & set(cells[base])
    }
    compared: dict[str, Difference | Estimate] = {}
    if base in paired:
        alike = _one_grid([found for row, found in paired.items() if row not in shares])
        spread = spread_of_differences(alike) if alike else Spread(0.0, 0, "")
        for row in paired:
            if row != base:
                compared[row] = difference(paired[row], paired[base], spread)
    for row, group in own.items():
        if row != base and row not in compared:
            compared[row] = _unpaired(group, own[base])
    return _corrected(compared)


def _sources(own: Mapping[str, Sequence[Run]]) -> list[str]:
    """Return the places of the training data, numbered alike in all rows.

    A row on other data, such as real images, has a place of its own and is not paired.
    """
    return sorted({run.source for group in own.values() for run in group})


def _one_grid(rows: Sequence[Cells]) -> list[Cells]:
    """Return the rows with every seed of every source, those with the most runs; maybe none."""
    whole = [
        row
        for row in rows
        if set(row) == set(product({source for source, _ in row}, {seed for _, seed in row}))
    ]
    largest = max((set(row) for row in whole), key=len, default=set())
    return [row for row in whole if set(row) == largest]


def _unpaired(group: Sequence[Run], base: Sequence[Run]) -> Difference:
    """Return the difference of two rows that cannot be compared image by image."""
    means = [math.fsum(run.scores.metrics.top1 for run in one) / len(one) for one in (group, base)]
    value = means[0] - means[1]
    if len(group) > 1 or len(base) > 1:
        return Difference(100 * value, None, None, None, "")
    counts = [
        (one[0].scores.metrics.num_correct, one[0].scores.real.num_images) for one in (group, base)
    ]
    _, interval = share_difference(counts[0], counts[1])
    return Difference(
        100 * value, 100 * interval.low, 100 * interval.high, None, "test images, unpaired"
    )


def _corrected(compared: Mapping[str, Difference | Estimate]) -> dict[str, Difference]:
    """Correct the p-values over all rows of a table."""
    tested = [
        row for row, one in compared.items() if isinstance(one, Estimate) and one.p is not None
    ]
    p_values = dict(zip(tested, holm([compared[row].p or 0.0 for row in tested]), strict=True))
    found = {}
    for row, one in compared.items():
        if isinstance(one, Estimate):
            one = Difference(one.value, one.low, one.high, p_values.get(row), one.sources)
        found[row] = one
    return found
