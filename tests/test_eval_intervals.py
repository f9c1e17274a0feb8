"""Confidence intervals: published examples, and their coverage of known values."""

from __future__ import annotations

import numpy as np
import pytest

from eval.intervals import (
    share_correlation,
    share_difference,
    share_interval,
)


def test_intervals_are_the_published_ones() -> None:
    # Newcombe (1998), table II, 56/70 against 48/80: 0.0524 to 0.3339 by method 10.
    difference, interval = share_difference((56, 70), (48, 80))
    assert difference == pytest.approx(0.2)
    assert interval == pytest.approx((0.0524, 0.3339), abs=5e-5)
    # Wilson for 81 of 263, same author's first paper: 0.2553 to 0.3662.
    assert share_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_a_difference_of_paired_shares_is_the_published_one() -> None:
    # Newcombe (1998b), table II: 36 pairs both right, 12 and 2 of one alone, 0 neither;
    # 0.0569 to 0.3404 by method 10, whose continuity correction is not at work here.
    one = np.repeat([True, True, False], [36, 12, 2])
    other = np.repeat([True, False, True], [36, 12, 2])
    phi = share_correlation(one, other, shared=np.ones(50, dtype=bool))
    assert phi == pytest.approx(-24 / np.sqrt(48 * 2 * 38 * 12))
    difference, interval = share_difference((48, 50), (38, 50), correlation=phi)
    assert difference == pytest.approx(0.2)
    assert interval == pytest.approx((0.0569, 0.3404), abs=1e-4)
    # A share of 1 has no errors that could go together.
    assert share_correlation(one | True, other, shared=one | True) == 0


def test_the_interval_of_partly_shared_items_covers_at_its_level() -> None:
    """Half of the items are shared, with mostly equal errors; true shares 0.75 and 0.5."""
    rng = np.random.default_rng(0)
    shared = np.arange(100) < 50
    covered = np.zeros(2)
    for _ in range(1000):
        one = rng.random(100) < 0.75
        agrees = shared & (rng.random(100) < 0.9)
        # Right in two of three cases where the other is right: 0.5 over all.
        other = np.where(agrees, one & (rng.random(100) < 2 / 3), rng.random(100) < 0.5)
        counts = (int(one.sum()), 100), (int(other.sum()), 100)
        used = share_correlation(one, other, shared=shared)
        for way, correlation in enumerate((used, 0.0)):
            _, interval = share_difference(*counts, correlation=correlation)
            covered[way] += interval.low <= 0.25 <= interval.high
    # As of independent shares it covers too often: it is too wide.
    assert 0.935 < covered[0] / 1000 < 0.965 < covered[1] / 1000
