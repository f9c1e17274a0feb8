"""Intervals by leaving out blocks of images, for figures without a formula of their own.

A bootstrap would repeat images, and a repeated image is its own nearest neighbour: coverage would
be too low. Leaving images out has no such bias.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.intervals import CONFIDENCE

NUM_BLOCKS = 20

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


def blocks_of(count: int) -> Integers:
    """Return the block of each image, shape (count,): blocks of equal size, within one image.

    Images must be in the order of their classes and random within a class, so that a block is a
    random sample with about the same classes as the others.
    """
    return np.arange(count, dtype=np.int64) % NUM_BLOCKS


def kept(blocks: Integers) -> Iterator[Booleans]:
    """Yield which images take part: all of them first, then all but each block."""
    yield np.ones(len(blocks), dtype=bool)
    for block in range(NUM_BLOCKS):
        yield blocks != block


def estimate(values: Floats, *, is_share: bool = False) -> dict[str, Any]:
    """Return a figure and its 95 % interval by the delete-a-group jackknife.

    The standard error is that of P. S. Kott, "The delete-a-group jackknife", Journal of Official
    Statistics 17: 521-526, 2001, the interval that of a t distribution with one degree of freedom
    less than blocks. On average the variance is not underestimated (B. Efron and C. Stein, "The
    jackknife estimate of variance", Annals of Statistics 9: 586-596, 1981). Figures of nearest
    neighbours change in steps, so it is overestimated for them: in 150 simulated pairs of samples
    (200 images, 6 features) their intervals were 1.2 to 1.9 times as wide as needed and contained
    the mean in 98 to 100 % of cases; those of the other figures in 92 to 98 %.

    Args:
        values: Shape (1 + blocks,): the figure of all images, then without each block.
        is_share: Whether the figure cannot be below 0 or above 1.

    Returns:
        `value`, `low` and `high`; None where the figure is not defined.
    """
    from scipy.stats import t

    if not np.isfinite(values).all():
        return {"value": None, "low": None, "high": None}
    rest = values[1:]
    error = math.sqrt((len(rest) - 1) * rest.var())
    reach = float(t.ppf((1 + CONFIDENCE) / 2, len(rest) - 1)) * error
    value = float(values[0])
    low, high = value - reach, value + reach
    if is_share:
        low, high = max(low, 0.0), min(high, 1.0)
    return {"value": value, "low": low, "high": high}
