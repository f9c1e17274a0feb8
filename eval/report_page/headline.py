"""The headline table: tricks by real datasets, with differences to the base and intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from eval.intervals import share_difference, share_interval
from eval.report_page.runs import Run, Runs
from eval.study.statistics import Cell, Estimate, difference, holm, spread_of_differences
from eval.study.statistics import Runs as Cells
from eval.table import DEFAULT_BASE
from eval.table_rows import order_rows
from factory.common.errors import UserError

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


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        row: Name of the config.
        runs: Number of runs.
        images: Training images per run; None if unknown.
        top1: Mean accuracy, in per cent.
        low: Lower end of the 95 % interval of the accuracy of one run; None for several.
        high: Upper end.
        std: Standard deviation over several runs; None for one.
        top5: Mean top-5 accuracy, in per cent; None if unknown.
        per_class: Mean accuracy over classes, in per cent.
        difference: To the base row; None for the base.
    """

    row: str
    runs: int
    images: int | None
    top1: float
    low: float | None
    high: float | None
    std: float | None
    top5: float | None
    per_class: float
    difference: Difference | None


@dataclass(frozen=True)
class Table:
    """All rows of one architecture on one real dataset; `best` is the best synthetic row."""

    real: str
    real_images: int
    architecture: str
    base: str | None
    lines: list[Line]

    @property
    def best(self) -> Line:
        """The row with the highest accuracy."""
        return max(self.lines, key=lambda line: line.top1)

    @property
    def reach(self) -> tuple[float, float]:
        """Ends of all differences and their intervals, zero included."""
        found = [line.difference for line in self.lines if line.difference]
        values = [0.0, *(one.value for one in found)]
        values += [end for one in found for end in (one.low, one.high) if end is not None]
        return min(values), max(values)


def headline(runs: Runs, *, shares: set[str], base: str | None) -> list[Table]:
    """Return one table per real dataset and architecture.

    Args:
        runs: All runs.
        shares: Rows whose images are also those of other rows.
        base: The row that the others are compared with; None: `base-class`, if it exists.

    Raises:
        UserError: There is no row `base`.
    """
    rows = {run.row for run in runs.scored}
    if base is not None and base not in rows:
        raise UserError(f"--base {base}: no such row; the rows are {', '.join(sorted(rows))}")
    tables = []
    for real, architecture in product(runs.reals, runs.architectures):
        own: dict[str, list[Run]] = {}
        for run in runs.scored:
            if (run.scores.real.name, run.scores.model.architecture) == (real, architecture):
                own.setdefault(run.row, []).append(run)
        if own:
            tables.append(_table(own, shares=shares, base=base or DEFAULT_BASE))
    return tables


def _table(own: Mapping[str, Sequence[Run]], *, shares: set[str], base: str) -> Table:
    first = next(iter(own.values()))[0].scores
    _require_same_images([run for group in own.values() for run in group])
    order = order_rows(sorted(own), base=base)
    compared = _differences(own, base=base, shares=shares) if base in own else {}
    return Table(
        real=first.real.name,
        real_images=first.real.num_images,
        architecture=first.model.architecture,
        base=base if base in own else None,
        lines=[_line(row, own[row], compared.get(row)) for row in order],
    )


def _require_same_images(runs: Sequence[Run]) -> None:
    first = runs[0].scores.real
    for run in runs:
        if run.scores.real.fingerprint != first.fingerprint:
            raise UserError(
                f"{first.name}: {runs[0].file} and {run.file} were scored on different images; "
                "score both on the same dataset, or report them separately"
            )


def _line(row: str, group: Sequence[Run], compared: Difference | None) -> Line:
    metrics = [run.scores.metrics for run in group]
    top1 = [100 * one.top1 for one in metrics]
    top5 = [100 * one.top5 for one in metrics if one.top5 is not None]
    images = [run.data.get("num_images") for run in group]
    one = metrics[0] if len(group) == 1 else None
    return Line(
        row=row,
        runs=len(group),
        images=images[0] if isinstance(images[0], int) else None,
        top1=math.fsum(top1) / len(top1),
        low=None if one is None else 100 * one.top1_low,
        high=None if one is None else 100 * one.top1_high,
        std=float(np.std(top1, ddof=1)) if len(top1) > 1 else None,
        top5=math.fsum(top5) / len(top5) if len(top5) == len(metrics) else None,
        per_class=100 * math.fsum(one.mean_per_class for one in metrics) / len(metrics),
        difference=compared,
    )


def cells_of(group: Sequence[Run], draws: Sequence[str]) -> Cells:
    """Return which images each run classifies correctly, by draw and training seed."""
    found: dict[Cell, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
    for run in group:
        table = run.predictions
        if table is not None:
            right = table["correct"].to_numpy(zero_copy_only=False)
            found[draws.index(run.source), run.seed] = np.asarray(right, dtype=np.float64)
    return found


def _differences(
    own: Mapping[str, Sequence[Run]], *, base: str, shares: set[str]
) -> dict[str, Difference]:
    draws = _draws(own)
    cells = {row: cells_of(group, draws) for row, group in own.items()}
    paired = {
        row: found
        for row, found in cells.items()
        if len(found) == len(own[row]) and set(found) & set(cells[base])
    }
    compared: dict[str, Difference | Estimate] = {}
    if base in paired:
        alike = _one_grid([found for row, found in paired.items() if row not in shares])
        spread = spread_of_differences(alike or [paired[base]])
        for row in paired:
            if row != base:
                compared[row] = difference(paired[row], paired[base], spread)
    for row, group in own.items():
        if row != base and row not in compared:
            compared[row] = _unpaired(group, own[base])
    return _corrected(compared)


def _draws(own: Mapping[str, Sequence[Run]]) -> list[str]:
    """Return the places of the training data, numbered alike in all rows.

    A row on other data, such as real images, has a place of its own and is not paired.
    """
    return sorted({run.source for group in own.values() for run in group})


def _one_grid(rows: Sequence[Cells]) -> list[Cells]:
    """Return the rows with the most runs, if these are every seed of every draw, and the same."""
    if not rows:
        return []
    largest = max(rows, key=len)
    grid = set(product({draw for draw, _ in largest}, {seed for _, seed in largest}))
    return [row for row in rows if set(row) == grid]


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
            covers = f"test images and {one.covers}" if one.covers else "test images"
            one = Difference(one.value, one.low, one.high, p_values.get(row), covers)
        found[row] = one
    return found


def accuracy_interval(correct: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, in per cent."""
    found = share_interval(correct, total)
    return 100 * found.low, 100 * found.high
