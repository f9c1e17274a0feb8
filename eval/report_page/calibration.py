"""Reliability diagram: accuracy of the predictions of similar confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from eval.intervals import share_interval
from eval.report_page.classes import groups
from eval.report_page.runs import Run, Runs

BINS = 15


@dataclass(frozen=True)
class Bin:
    """Predictions of similar confidence; shares in per cent, `low` to `high` the 95 % interval."""

    confidence: float
    accuracy: float
    low: float
    high: float
    count: int
    share: float


@dataclass(frozen=True)
class Reliability:
    """The diagram of one row: all predictions of its runs together."""

    real: str
    architecture: str
    row: str
    runs: int
    error: float
    confidence: float
    accuracy: float
    bins: list[Bin]


def reliability(runs: Runs, *, order: Sequence[str]) -> list[Reliability]:
    """Return the diagrams of the rows with predictions."""
    found = []
    for real, architecture in product(runs.reals, runs.architectures):
        own = groups(runs.scored, real, architecture)
        for row in [one for one in order if one in own]:
            group = [run for run in own[row] if run.predictions is not None]
            if group:
                found.append(_diagram(group, row))
    return found


def _diagram(group: Sequence[Run], row: str) -> Reliability:
    tables = [run.predictions for run in group if run.predictions is not None]
    confidence = np.concatenate(
        [np.asarray(one["probability"], dtype=np.float64) for one in tables]
    )
    correct = np.concatenate([np.asarray(one["correct"], dtype=bool) for one in tables])
    # A confidence on an edge counts in the lower bin, as in the calibration error.
    places = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    bins = []
    for place in np.unique(places):
        inside = places == place
        count, right = int(inside.sum()), int(correct[inside].sum())
        # The runs answer about the same images, so they do not make the interval narrower.
        independent = max(round(count / len(tables)), 1)
        low, high = share_interval(round(right / count * independent), independent)
        bins.append(
            Bin(
                confidence=100 * float(confidence[inside].mean()),
                accuracy=100 * right / count,
                low=100 * low,
                high=100 * high,
                count=count,
                share=count / len(correct),
            )
        )
    error = sum(one.share * abs(one.accuracy - one.confidence) for one in bins)
    first = group[0].scores
    return Reliability(
        *(first.real.name, first.model.architecture, row, len(group), error),
        confidence=100 * float(confidence.mean()),
        accuracy=100 * float(correct.mean()),
        bins=bins,
    )
