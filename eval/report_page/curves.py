"""Learning curves: metrics of each epoch, averaged over the runs of a config."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.checkpoint import METRICS
from eval.report_page.charts import COLOURS, DASHES, Chart, Series, line_chart
from eval.report_page.runs import Run, Runs, read_metrics

_MEASURES = {
    "val_top1": "Accuracy on held-out training images, %",
    "train_loss": "Training loss",
}
MOST_LINES = COLOURS * DASHES


@dataclass(frozen=True)
class Curves:
    """Charts of one architecture: by measure; rows left out because there are too many."""

    architecture: str
    charts: list[Chart]
    rows: list[str]
    hidden: int
    runs: int


Epochs = list[dict[str, float]]


def curves(runs: Runs, *, order: Sequence[str]) -> list[Curves]:
    """Return the curves of each architecture; empty without any `metrics.csv`."""
    found = []
    for architecture in runs.architectures:
        by_row: dict[str, list[Epochs]] = defaultdict(list)
        for run in _once_per_folder(runs.scored, architecture):
            epochs = read_metrics(run.folder)
            if epochs:
                by_row[run.row].append(epochs)
        rows = [row for row in order if row in by_row]
        charts = _charts({row: by_row[row] for row in rows[:MOST_LINES]})
        if charts:
            number = sum(len(group) for group in by_row.values())
            hidden = max(len(rows) - MOST_LINES, 0)
            found.append(Curves(architecture, charts, rows[:MOST_LINES], hidden, number))
    return found


def _once_per_folder(runs: Sequence[Run], architecture: str) -> list[Run]:
    own = {
        run.folder: run
        for run in runs
        if run.scores.model.architecture == architecture and (run.folder / METRICS).is_file()
    }
    return list(own.values())


def _charts(by_row: Mapping[str, Sequence[Epochs]]) -> list[Chart]:
    found = []
    for key, label in _MEASURES.items():
        is_share = key.endswith("top1")
        factor = 100.0 if is_share else 1.0
        series = [
            one
            for row, group in by_row.items()
            if (one := _series(row, group, key=key, factor=factor)).points
        ]
        if series:
            # An axis that starts at the lowest accuracy makes a small rise look large.
            found.append(line_chart(series, x_label="Epoch", y_label=label, from_zero=is_share))
    return found


def _series(row: str, group: Sequence[Epochs], *, key: str, factor: float) -> Series:
    by_epoch: dict[float, list[float]] = defaultdict(list)
    for epochs in group:
        for one in epochs:
            if key in one and "epoch" in one and math.isfinite(one[key]):
                by_epoch[one["epoch"]].append(factor * one[key])
    places = sorted(by_epoch)
    points = [(at, math.fsum(by_epoch[at]) / len(by_epoch[at])) for at in places]
    several = len(group) > 1
    band = [(at, min(by_epoch[at]), max(by_epoch[at])) for at in places] if several else []
    return Series(row, points, band)
