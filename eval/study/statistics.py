"""Scores and differences of a study's rows, with intervals over images, training seeds and draws.

Every run scores the same test images. A run belongs to a draw (base seed of the generated images)
and a training seed; rows are compared over the runs of the same draws and seeds, image by image.

Two sources of error are added:

- runs: an analysis of variance of the runs' mean scores, rows by runs. What all rows of a draw and
  seed have in common cancels in a difference; the error of a difference is the interaction of row
  and draw (of row and training seed where there is one draw, which then leaves the spread of
  generating out). The rows are taken to vary alike, so their mean squares are pooled. Union rows
  share images with their members, which makes their differences vary less than is assumed here.
- test images: the variance over images of the mean difference of an image, divided by their number.

The degrees of freedom of the sum are Satterthwaite's (Biometrics Bulletin 2, 1946).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eval.intervals import CONFIDENCE

Cell = tuple[int, int]
"""Draw and training seed."""
Correct = NDArray[np.float64]
"""One run: 1 where it is right and 0 where it is wrong, shape (images,)."""
Runs = Mapping[Cell, Correct]
"""A row's runs with one model."""

_ALL: Literal["training seeds and draws"] = "training seeds and draws"


@dataclass(frozen=True)
class Spread:
    """How much the mean scores of a row's runs vary.

    Attributes:
        mean_square: Of one run's mean score, in squared shares.
        degrees: Of freedom; 0 where there are no repeated runs.
        covers: Sources of error in it.
    """

    mean_square: float
    degrees: int
    covers: Literal["", "training seeds", "training seeds and draws"]


@dataclass(frozen=True)
class Estimate:
    """A mean score or a difference of two, in percentage points.

    Attributes:
        value: The estimate.
        low: Lower end of the 95 % interval.
        high: Upper end.
        p: Two-sided, of no difference.
        num_runs: Runs it rests on, per row.
        covers: Sources of error in the interval besides the test images.
    """

    value: float
    low: float
    high: float
    p: float
    num_runs: int
    covers: str


def spread_of_rows(rows: Sequence[Runs]) -> Spread:
    """Return the spread of single rows' mean scores, pooled over rows.

    Args:
        rows: Those that lack a run of the others are left out.
    """
    return _spread(rows, common=False)


def spread_of_differences(rows: Sequence[Runs]) -> Spread:
    """Return the spread that remains in differences of rows: what all rows share is taken out.

    The mean square is that of one row; a difference of two has twice as much.
    """
    return _spread(rows, common=True)


def _spread(rows: Sequence[Runs], *, common: bool) -> Spread:
    most = max(len(one) for one in rows)
    whole = [one for one in rows if len(one) == most]
    cells = sorted(whole[0])
    grid = np.array([[one[cell].mean() for cell in cells] for one in whole])
    free = len(grid)
    if common:
        grid = grid - grid.mean(axis=0)
        free -= 1
    draws = sorted({draw for draw, _ in cells})
    of_draw = [[place for place, (d, _) in enumerate(cells) if d == draw] for draw in draws]
    within, seeds = 0.0, 0
    for places in of_draw:
        part = grid[:, places]
        within += float(((part - part.mean(axis=1, keepdims=True)) ** 2).sum())
        seeds += len(places) - 1
    by_seed = Spread(*_mean_square(within, free * seeds), "training seeds" if seeds else "")
    if len(draws) == 1:
        return by_seed
    means = np.stack([grid[:, places].mean(axis=1) for places in of_draw], axis=1)
    between = float(((means - means.mean(axis=1, keepdims=True)) ** 2).sum())
    scale = len(cells) / len(draws)
    by_draw = Spread(*_mean_square(between * scale, free * (len(draws) - 1)), _ALL)
    # An estimate below that of the seeds alone is chance: draws cannot take spread away.
    larger = max(by_draw, by_seed, key=lambda one: one.mean_square)
    return Spread(larger.mean_square, larger.degrees, _ALL)


def _mean_square(squares: float, degrees: int) -> tuple[float, int]:
    return (squares / degrees if degrees else 0.0), degrees


def mean_score(row: Runs, spread: Spread) -> Estimate:
    """Return a row's mean score.

    Args:
        row: Its runs.
        spread: From `spread_of_rows`.
    """
    return _estimate(np.stack(list(row.values())), spread, variances=1)


def difference(row: Runs, other: Runs, spread: Spread) -> Estimate:
    """Return the mean of `row` less that of `other`, over the draws and seeds that both have.

    Args:
        row: Runs of one row.
        other: Of the row that is subtracted.
        spread: From `spread_of_differences`.
    """
    cells = [cell for cell in row if cell in other]
    return _estimate(np.stack([row[cell] - other[cell] for cell in cells]), spread, variances=2)


def _estimate(scores: NDArray[np.float64], spread: Spread, *, variances: int) -> Estimate:
    """Return the mean of scores of shape (runs, images) with its interval."""
    from scipy.stats import t

    num_runs, num_images = scores.shape
    value = float(scores.mean())
    runs = variances * spread.mean_square / num_runs
    images = float(scores.mean(axis=0).var(ddof=1)) / num_images
    error = math.sqrt(runs + images)
    if not error:
        return Estimate(100 * value, 100 * value, 100 * value, 1.0, num_runs, spread.covers)
    parts = ((runs, spread.degrees), (images, num_images - 1))
    degrees = error**4 / sum(part**2 / free for part, free in parts if free)
    reach = float(t.ppf((1 + CONFIDENCE) / 2, degrees)) * error
    p = 2 * float(t.sf(abs(value) / error, degrees))
    return Estimate(
        value=100 * value,
        low=100 * (value - reach),
        high=100 * (value + reach),
        p=p,
        num_runs=num_runs,
        covers=spread.covers,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for the size of their family (Holm, Scand. J. Stat. 6, 1979)."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
