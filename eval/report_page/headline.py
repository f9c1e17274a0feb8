"""The headline table: tricks by real datasets, with differences to the base and intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from eval.report_page.differences import Difference, differences
from eval.report_page.runs import Run, Runs
from eval.table import DEFAULT_BASE
from eval.table_rows import OPEN, order_rows
from factory.common.errors import UserError


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
    """All rows of one architecture on one real dataset.

    Attributes:
        own: Rows that are configs of the dataset; others were trained on other data.
    """

    real: str
    real_images: int
    architecture: str
    base: str | None
    lines: list[Line]
    own: set[str]

    @property
    def best(self) -> Line:
        """The row with the highest accuracy, among those of the dataset if it has any."""
        own = [line for line in self.lines if line.row in self.own]
        return max(own or self.lines, key=lambda line: line.top1)

    @property
    def reach(self) -> tuple[float, float]:
        """Ends of all differences and their intervals, zero included."""
        found = [line.difference for line in self.lines if line.difference]
        values = [0.0, *(one.value for one in found)]
        values += [end for one in found for end in (one.low, one.high) if end is not None]
        return min(values), max(values)


def headline(runs: Runs, *, configs: set[str], shares: set[str], base: str | None) -> list[Table]:
    """Return one table per real dataset and architecture.

    Args:
        runs: All runs.
        configs: The dataset's configs; other rows are listed last.
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
            tables.append(_table(own, configs=configs, shares=shares, base=base or DEFAULT_BASE))
    return tables


def _table(
    own: Mapping[str, Sequence[Run]], *, configs: set[str], shares: set[str], base: str
) -> Table:
    first = next(iter(own.values()))[0].scores
    _require_same_images([run for group in own.values() for run in group])
    configs = {row for row in own if row.partition(OPEN)[0] in configs}
    order = order_rows(sorted(own), base=base, last=set(own) - configs)
    compared = differences(own, base=base, shares=shares) if base in own else {}
    return Table(
        real=first.real.name,
        real_images=first.real.num_images,
        architecture=first.model.architecture,
        base=base if base in own else None,
        lines=[_line(row, own[row], compared.get(row)) for row in order],
        own=configs,
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
