import math

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import stats

from factory.distributions.base import Distribution
from factory.distributions.scalar import AnyDistribution
from factory.planner.streams import seeds, uniforms

IMAGES = 20_000
U = uniforms(7, ("set", "quantity"), start=0, stop=IMAGES)
J = np.arange(IMAGES)


def parse(written: object) -> Distribution:
    parsed: Distribution = TypeAdapter(AnyDistribution).validate_python(written)
    return parsed


def test_uniforms_are_uniform_and_never_an_end() -> None:
    assert stats.kstest(U, "uniform").pvalue > 0.01
    assert U.min() > 0 and U.max() < 1


def test_ends_of_the_uniform_range_stay_inside_every_distribution() -> None:
    ends = np.array([2.0**-53, 1 - 2.0**-53])
    for written in (
        [1, 2, 3],
        {"choice": {"a": 1, "b": 3}},
        {"integers": [1, 5]},
        {"uniform": [1, 5]},
        {"loguniform": [1, 5]},
        {"truncated_normal": {"mean": 0, "std": 1, "low": 1, "high": 5}},
        {"normal": {"mean": 0, "std": 1}},
    ):
        one = parse(written)
        low, high = one.bounds()
        for value in one.sample(ends, np.array([0, 1])):
            assert value in (one.values() or [value])
            if not math.isnan(low):
                assert isinstance(value, int | float)
                assert low <= value <= high


def test_any_range_of_a_stream_is_part_of_the_whole() -> None:
    whole = uniforms(1, ("a", "b"), start=0, stop=1000)
    assert np.array_equal(uniforms(1, ("a", "b"), start=217, stop=503), whole[217:503])
    assert not np.array_equal(uniforms(2, ("a", "b"), start=0, stop=1000), whole)
    assert not np.array_equal(uniforms(1, ("ab", ""), start=0, stop=1000), whole)


def test_streams_are_independent() -> None:
    other = uniforms(7, ("set", "other"), start=0, stop=IMAGES)
    assert abs(np.corrcoef(U, other)[0, 1]) < 0.02
    assert abs(np.corrcoef(U[1:], U[:-1])[0, 1]) < 0.02


def test_seeds_are_63_bit_and_spread() -> None:
    sampled = seeds(0, ("set", "seed"), start=0, stop=IMAGES)
    assert sampled.min() >= 0
    assert len(set(sampled.tolist())) == IMAGES
    assert stats.kstest(sampled / 2.0**63, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("written", "reference"),
    [
        ({"uniform": [1, 5]}, stats.uniform(1, 4)),
        ({"loguniform": [0.5, 16]}, stats.loguniform(0.5, 16)),
        ({"normal": {"mean": 3, "std": 0.5}}, stats.norm(3, 0.5)),
        (
            {"truncated_normal": {"mean": 3, "std": 2, "low": 1, "high": 8}},
            stats.truncnorm(-1, 2.5, 3, 2),
        ),
        (
            {"truncated_normal": {"mean": 0, "std": 1, "low": 4, "high": 6}},
            stats.truncnorm(4, 6, 0, 1),
        ),
    ],
)
def test_continuous_distributions_have_the_reference_cdf(
    written: object, reference: stats.rv_continuous
) -> None:
    one = parse(written)
    sampled = one.sample(U, J)
    assert stats.kstest(sampled, reference.cdf).pvalue > 0.01
    assert one.type() == "float64"
    assert all(isinstance(value, float) for value in sampled[:10])


@pytest.mark.parametrize(
    ("written", "shares"),
    [
        (["a", "b", "c"], {"a": 1, "b": 1, "c": 1}),
        ({"choice": {"a": 3, "b": 1}}, {"a": 3, "b": 1}),
        ({"choice": [{"value": 1, "weight": 0.5}, {"value": 2}]}, {1: 0.5, 2: 1}),
        ({"integers": [-2, 2]}, dict.fromkeys(range(-2, 3), 1)),
    ],
)
def test_discrete_distributions_have_the_expected_shares(
    written: object, shares: dict[object, float]
) -> None:
    sampled = parse(written).sample(U, J)
    counts = [sampled.count(value) for value in shares]  # type: ignore[arg-type]
    expected = np.array(list(shares.values())) * IMAGES / sum(shares.values())
    assert stats.chisquare(counts, expected).pvalue > 0.01


def test_cycle_counts_images_of_a_class() -> None:
    assert parse({"cycle": ["x", "y", "z"]}).sample(U[:5], np.array([0, 0, 1, 2, 3])) == [
        *"xxyzx",
    ]


@pytest.mark.parametrize(
    ("written", "kind", "values"),
    [
        (5, "int64", [5]),
        ("a", "string", ["a"]),
        (True, "bool", [True]),
        ([1, 2.5], "float64", [1.0, 2.5]),
        (["a", "a", "b"], "string", ["a", "b"]),
        ({"integers": [1, 3]}, "int64", [1, 2, 3]),
        ({"uniform": [1, 3]}, "float64", None),
    ],
)
def test_distributions_know_their_type_and_values(
    written: object, kind: str, values: list[object] | None
) -> None:
    one = parse(written)
    assert one.type() == kind
    assert one.values() == values


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (7.5, "always 7.5"),
        (["a", "b"], "one of 'a', 'b'"),
        ({"choice": {"a": 3, "b": 1}}, "'a' 75%, 'b' 25%"),
        ({"cycle": [1, 2]}, "in turn 1, 2"),
        ({"uniform": [1, 5]}, "uniform from 1 to 5"),
        ({"loguniform": [1, 5]}, "log-uniform from 1 to 5"),
        ({"normal": {"mean": 3, "std": 0.5}}, "normal, mean 3, std 0.5"),
        (
            {"truncated_normal": {"mean": 3, "std": 2, "low": 1, "high": 8}},
            "normal, mean 3, std 2, from 1 to 8",
        ),
        ({"integers": [1, 5]}, "whole number from 1 to 5"),
        (list(range(10)), "one of 0, 1, 2, 3, 4, 5, 6, 7, and 2 more"),
    ],
)
def test_distributions_are_described_in_words(written: object, text: str) -> None:
    assert parse(written).describe() == text
