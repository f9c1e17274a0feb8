"""Confidence intervals of proportions and their differences; 95 % unless stated otherwise."""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Two ends, the lower one first."""

    low: float
    high: float


def share_interval(count: int, total: int) -> Interval:
    """Return the Wilson score interval of a share.

    In closed form (E. B. Wilson, Journal of the American Statistical Association 22: 209-212,
    1927): `scipy.stats.binomtest` also computes a p-value, in about a millisecond, and takes
    seconds to be imported.
    """
    z_squared = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) ** 2
    centre = count + z_squared / 2
    width = math.sqrt(z_squared * (count * (total - count) / total + z_squared / 4))
    # Exactly, where rounding could leave the range.
    low = (centre - width) / (total + z_squared) if count > 0 else 0.0
    return Interval(low, (centre + width) / (total + z_squared) if count < total else 1.0)


def share_difference(
    one: tuple[int, int], other: tuple[int, int], *, correlation: float = 0.0
) -> tuple[float, Interval]:
    """Return the difference of two shares and its interval.

    R. G. Newcombe's hybrid score intervals: for independent shares (Statistics in Medicine 17:
    873-890, 1998, method 10), and with a correlation as for paired shares (17: 2635-2650, 1998,
    methods 8 and 10). G. Y. Zou (Psychological Methods 12: 399-413, 2007) derives the formula for
    any two correlated estimates.

    Args:
        one: Count and total.
        other: Count and total; subtracted.
        correlation: Correlation of the estimates, see `share_correlation`; 0 if independent.
    """
    share, share_other = one[0] / one[1], other[0] / other[1]
    own, others = share_interval(*one), share_interval(*other)
    difference = share - share_other

    def combined(a: float, b: float) -> float:
        return math.sqrt(max(a * a + b * b - 2 * correlation * a * b, 0.0))

    low = combined(share - own.low, others.high - share_other)
    high = combined(own.high - share, share_other - others.low)
    return difference, Interval(difference - low, difference + high)


def share_correlation(
    one: NDArray[np.bool_], other: NDArray[np.bool_], *, shared: NDArray[np.bool_]
) -> float:
    """Return the correlation of two estimated shares that have some items in common.

    It is Newcombe's phi if all items are shared, and proportionally less if some are; 0 if a share
    is 0 or 1, as in his papers. Shares of strata of fixed size vary less than assumed here, so the
    interval is slightly too wide rather than too narrow.

    Args:
        one: Shape (items,): whether each item counts.
        other: Same shape, for the other share.
        shared: Same shape: whether both values are about the same item.
    """
    total = len(one)
    variances = [side.mean() * (1 - side.mean()) / total for side in (one, other)]
    if not shared.any() or not all(variances):
        return 0.0
    a, b = (side[shared].astype(np.float64) for side in (one, other))
    covariance = ((a - a.mean()) * (b - b.mean())).sum() / total**2
    return float(covariance / math.sqrt(variances[0] * variances[1]))
