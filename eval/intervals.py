"""Intervals of shares and of differences; all 95 % unless said otherwise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Two ends, the lower one first."""

    low: float
    high: float


def share_interval(count: int, total: int) -> Interval:
    """Return the Wilson score interval of a share."""
    from scipy.stats import binomtest

    found = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(float(found.low), float(found.high))


def share_difference(one: tuple[int, int], other: tuple[int, int]) -> tuple[float, Interval]:
    """Return the difference of two shares of different images, and its interval.

    R. G. Newcombe's hybrid score interval (Statistics in Medicine 17, 1998, method 10).

    Args:
        one: Count and total.
        other: Count and total; subtracted.
    """
    share, share_other = one[0] / one[1], other[0] / other[1]
    own, others = share_interval(*one), share_interval(*other)
    difference = share - share_other
    low = math.hypot(share - own.low, others.high - share_other)
    high = math.hypot(own.high - share, share_other - others.low)
    return difference, Interval(difference - low, difference + high)


def mean_difference(one: Sequence[float], other: Sequence[float]) -> tuple[float, Interval | None]:
    """Return the difference of two means and Welch's t interval; None where it has no spread.

    Args:
        one: Values of one side, e.g. a score a seed.
        other: Of the other, which is subtracted.
    """
    from scipy.stats import ttest_ind

    difference = math.fsum(one) / len(one) - math.fsum(other) / len(other)
    if min(len(one), len(other)) < 2 or (len(set(one)) == 1 and len(set(other)) == 1):
        return difference, None
    with warnings.catch_warnings():
        # One side may be the same score for every seed, which scipy takes for lost precision.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        found = ttest_ind(one, other, equal_var=False).confidence_interval(CONFIDENCE)
    return difference, Interval(float(found.low), float(found.high))


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> tuple[float, float] | None:
    """Return Spearman's correlation and its exact two-sided p over all orders, up to seven pairs.

    With more pairs, p is over 10,000 random orders of a fixed seed. None for fewer than four pairs
    or a side without spread, of which it says nothing.
    """
    from scipy.stats import permutation_test, rankdata

    if len(one) < 4 or len(set(one)) == 1 or len(set(other)) == 1:
        return None
    ranks = rankdata(other)

    def statistic(x: NDArray[np.float64]) -> float:
        return float(np.corrcoef(x, ranks)[0, 1])

    found = permutation_test(
        (rankdata(one),),
        statistic,
        permutation_type="pairings",
        n_resamples=np.inf if len(one) <= 7 else 10_000,
        rng=np.random.default_rng(0),
        vectorized=False,
    )
    return float(found.statistic), float(found.pvalue)
