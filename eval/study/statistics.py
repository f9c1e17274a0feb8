"""Differences of a study's rows, with intervals over test images, training seeds and image seeds.

Every run scores the same test images. A run has an image seed (base seed of the generated images)
and a training seed; every image seed has the same training seeds. Rows are compared over the runs
of the same seeds, image by image. Two sources of error are added:

- runs: an analysis of variance of the runs' mean scores, rows by image seeds by training seeds.
  Effects common to all rows of two seeds cancel in a difference; its error is row x image seed plus
  row x training seed less the residual. With one image seed it is row x training seed, which does
  not include the variation of generating.
  Rows are assumed to vary alike and are pooled; rows that share images with others (unions, twins)
  are not pooled, since they vary less.
- test images: the variance over images of the mean difference of an image, divided by their number.
  It contains a share of the runs' noise too, which is thus counted twice: the interval is a little
  too wide.

The degrees of freedom are Satterthwaite's (Biometrics Bulletin 2, 1946).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eval.intervals import CONFIDENCE

Cell = tuple[int, int]
"""Image seed and training seed."""
Correct = NDArray[np.float64]
"""One run: 1 for correct and 0 for wrong predictions, shape (images,)."""
Runs = Mapping[Cell, Correct]
"""A row's runs with one model."""


Covers = Literal["", "training seeds", "training seeds and image seeds"]


@dataclass(frozen=True)
class Spread:
    """Variation between runs of a row's difference from the others.

    Attributes:
        mean_square: Variance of a run's mean score, in squared fractions; half a difference's.
        degrees: Degrees of freedom; 0 if it cannot be estimated.
        covers: Sources of error in it; empty if it cannot be estimated.
    """

    mean_square: float
    degrees: float
    covers: Covers


@dataclass(frozen=True)
class Estimate:
    """A difference of two rows, in percentage points.

    Attributes:
        value: The estimate.
        low: Lower end of the 95 % interval.
        high: Upper end.
        p: Two-sided p-value of no difference; None if only test images are repeated.
        num_runs: Number of runs per row.
        covers: Sources of error in the interval besides the test images.
    """

    value: float
    low: float
    high: float
    p: float | None
    num_runs: int
    covers: Covers

    @property
    def sources(self) -> str:
        """All sources of error in the interval, as text."""
        found = ["test images", *filter(None, self.covers.split(" and "))]
        return " and ".join(filter(None, [", ".join(found[:-1]), found[-1]]))


def spread_of_differences(rows: Sequence[Runs]) -> Spread:
    """Return the spread of rows after removing effects common to all rows of a run.

    Args:
        rows: Rows that do not share images. Rows without all runs are ignored.
    """
    most = max(len(one) for one in rows)
    whole = [one for one in rows if len(one) == most]
    image_seeds = sorted({image_seed for image_seed, _ in whole[0]})
    seeds = sorted({seed for _, seed in whole[0]})
    scores = np.array([[[one[d, s].mean() for s in seeds] for d in image_seeds] for one in whole])
    scores = scores - scores.mean(axis=0)
    scores = scores - scores.mean(axis=(1, 2), keepdims=True)
    free = len(whole) - 1
    by_image_seed = _mean_square(scores.mean(axis=2), len(seeds), free * (len(image_seeds) - 1))
    by_training_seed = _mean_square(scores.mean(axis=1), len(image_seeds), free * (len(seeds) - 1))
    if by_image_seed is None or by_training_seed is None:
        known = by_image_seed or by_training_seed
        covers: Covers = "training seeds" if known and len(image_seeds) == 1 else ""
        return Spread(*known, covers) if known and covers else Spread(0.0, 0, "")
    rest = scores - scores.mean(axis=2, keepdims=True) - scores.mean(axis=1, keepdims=True)
    residual = _mean_square(rest, 1, free * (len(image_seeds) - 1) * (len(seeds) - 1))
    assert residual is not None, "there are several seeds of both kinds"
    largest = max(by_image_seed, by_training_seed)
    total = by_image_seed[0] + by_training_seed[0] - residual[0]
    if total <= largest[0]:
        # A component estimated below zero is chance; the larger one is used for both.
        return Spread(*largest, "training seeds and image seeds")
    parts = (by_image_seed, by_training_seed, residual)
    degrees = total**2 / sum(square**2 / count for square, count in parts)
    return Spread(total, degrees, "training seeds and image seeds")


def _mean_square(
    scores: NDArray[np.float64], repeats: int, degrees: int
) -> tuple[float, int] | None:
    """Return sum of squares over degrees of freedom, and the latter; None without any."""
    return (float((scores**2).sum()) * repeats / degrees, degrees) if degrees else None


def difference(row: Runs, other: Runs, spread: Spread) -> Estimate:
    """Return the mean of `row` minus that of `other`, over their common seeds."""
    from scipy.stats import t

    cells = [cell for cell in row if cell in other]
    scores = np.stack([row[cell] - other[cell] for cell in cells])
    num_runs, num_images = scores.shape
    value = float(scores.mean())
    runs = 2 * spread.mean_square / num_runs
    images = float(scores.mean(axis=0).var(ddof=1)) / num_images
    error = math.sqrt(runs + images)
    reach, p = 0.0, 1.0 if value == 0 else 0.0
    if error:
        parts = ((runs, spread.degrees), (images, num_images - 1))
        degrees = error**4 / sum(part**2 / free for part, free in parts if free)
        reach = float(t.ppf((1 + CONFIDENCE) / 2, degrees)) * error
        p = 2 * float(t.sf(abs(value) / error, degrees))
    return Estimate(
        value=100 * value,
        low=100 * (value - reach),
        high=100 * (value + reach),
        p=p if spread.covers else None,
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
