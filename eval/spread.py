"""Measure the variety of the images in a class, compared with real images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.intervals import CONFIDENCE, Interval

Features = NDArray[np.float64]

_RESAMPLES = 2000


def compare_spread(
    real: Features, synthetic: Features, *, labels: NDArray[np.int64], seed: int
) -> dict[str, Any]:
    """Compare the spread of images around their class mean: 1 is as varied as real images.

    The spread of a class is the mean squared distance from its mean, in features standardised
    over both sides. The ratio is of sums over classes.

    The interval is a percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap,
    1993, chapter 13): images are resampled within each class and side, the standardisation stays.
    With 5 to 20 images per class it is too narrow: in simulations of skewed features it covered in
    about 90 % of cases instead of 95 %.

    Args:
        real: Shape (images, D).
        synthetic: Same shape.
        labels: Shape (images,): classes, the same in both.
        seed: Seed of the bootstrap.
    """
    scale = np.concatenate([real, synthetic]).std(axis=0)
    scale[scale == 0] = 1.0
    rng = np.random.default_rng(seed)
    ratios: list[float | None] = []
    sums = np.zeros((2, 1 + _RESAMPLES))
    for label in np.unique(labels):
        own = labels == label
        if own.sum() < 2:
            ratios.append(None)
            continue
        both = np.stack([_within(side[own] / scale, rng) for side in (real, synthetic)])
        ratios.append(float(both[1, 0] / both[0, 0]) if both[0, 0] else None)
        sums += both
    if not sums[0, 0]:
        return {"ratio": None, "low": None, "high": None, "per_class": ratios}
    interval = _percentiles(sums[:, 1:])
    return {
        "ratio": float(sums[1, 0] / sums[0, 0]),
        "low": interval.low if np.isfinite(interval.low) else None,
        "high": interval.high if np.isfinite(interval.high) else None,
        "per_class": ratios,
    }


def _within(x: Features, rng: np.random.Generator) -> Features:
    """Return the variance around the mean: of all images first, then of bootstrap resamples.

    It is the trace of the covariance. A resample is described by the number of times that it
    contains each image, so the dot products of images are computed once.
    """
    n = len(x)
    centred = x - x.mean(axis=0)
    products = centred @ centred.T
    counts = rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES).astype(np.float64)
    counts = np.concatenate([np.ones((1, n)), counts])
    squares = counts @ products.diagonal()
    means = np.einsum("ri,ri->r", counts @ products, counts) / n
    # A resample of one image alone has no variance; rounding must not make it negative.
    variances: Features = np.maximum(squares - means, 0.0) / (n - 1)
    return variances


def _percentiles(sums: Features) -> Interval:
    """Return the bootstrap interval of a ratio: real sums first, then synthetic ones."""
    ratios = np.full(sums.shape[1], np.inf)
    np.divide(sums[1], sums[0], out=ratios, where=sums[0] > 0)
    tail = (1 - CONFIDENCE) / 2
    # Without interpolation, which would make a NaN of an infinite ratio.
    low, high = np.quantile(ratios, [tail, 1 - tail], method="inverted_cdf")
    return Interval(float(low), float(high))
