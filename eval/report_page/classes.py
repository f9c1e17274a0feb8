"""Accuracy of each class: mean over the runs of a row, on one real dataset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from eval.report_page.runs import Run, Runs


@dataclass(frozen=True)
class Bar:
    """Accuracy of one class, in per cent; None without images. `images` is None if unknown."""

    name: str
    value: float | None
    base: float | None
    images: int | None


@dataclass(frozen=True)
class Bars:
    """All classes of one row; `base` is the row that they are compared with."""

    real: str
    architecture: str
    row: str
    base: str | None
    runs: int
    bars: list[Bar]


def per_class(runs: Runs, *, order: Sequence[str], base: str) -> list[Bars]:
    """Return the bars of every row, by real dataset and architecture, worst class first."""
    found = []
    for real, architecture in product(runs.reals, runs.architectures):
        own = groups(runs.scored, real, architecture)
        compared = _means(own[base]) if base in own else {}
        for row in [one for one in order if one in own]:
            counts = own[row][0].scores.real.class_counts or {}
            bars = [
                Bar(name, value, compared.get(name), counts.get(name))
                for name, value in _means(own[row]).items()
            ]
            bars.sort(key=lambda bar: (bar.value is None, bar.value or 0.0))
            other = base if compared and row != base else None
            found.append(Bars(real, architecture, row, other, len(own[row]), bars))
    return found


def groups(runs: Sequence[Run], real: str, architecture: str) -> dict[str, list[Run]]:
    """Return the runs of one architecture on one real dataset, by row."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if (run.scores.real.name, run.scores.model.architecture) == (real, architecture):
            found.setdefault(run.row, []).append(run)
    return found


def _means(group: Sequence[Run]) -> dict[str, float | None]:
    values: dict[str, list[float]] = {}
    for run in group:
        labels = run.scores.labels
        names = labels.names[: labels.num_real]
        for name, share in zip(names, run.scores.metrics.per_class, strict=True):
            found = values.setdefault(name, [])
            if share is not None:
                found.append(100 * share)
    return {name: math.fsum(one) / len(one) if one else None for name, one in values.items()}
