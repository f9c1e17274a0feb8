"""Intervals of shares and of differences; all 95 % unless said otherwise."""

from __future__ import annotations

import math
from typing import NamedTuple

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
