"""Distributions over numbers: uniform, log-uniform, normal and integers."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, cast

from pydantic import Field, model_validator

from factory.common.frozen import Frozen
from factory.distributions.base import Distribution, Integer, Number, ValueType, Weight
from factory.distributions.template import Value, shown

if TYPE_CHECKING:
    from factory.distributions.base import Floats, Integers


def _ordered(low: float, high: float) -> None:
    if low > high:
        raise ValueError(f"low {shown(low)} is above high {shown(high)}; swap them")
    if low == high:
        raise ValueError(f"low and high are both {shown(low)}; write {shown(low)} alone")


class _Continuous(Distribution):
    """Bounded numbers; their columns are float64."""

    def type(self) -> ValueType:
        """Return float64."""
        return "float64"


class Uniform(_Continuous):
    """Uniform distribution from low to high: `{uniform: [1, 5]}`."""

    uniform: tuple[Number, Number] = Field(description="Low and high.")

    @model_validator(mode="after")
    def _low_below_high(self) -> Uniform:
        _ordered(*self.uniform)
        return self

    def sample(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Scale to the bounds."""
        low, high = self.uniform
        return _values(low + uniforms * (high - low))

    def describe(self) -> str:
        """Name the bounds."""
        return f"uniform from {shown(self.uniform[0])} to {shown(self.uniform[1])}"

    def bounds(self) -> tuple[float, float]:
        """Return low and high."""
        return self.uniform


class LogUniform(_Continuous):
    """Log-uniform distribution: 1 to 2 is as likely as 2 to 4."""

    loguniform: tuple[Number, Number] = Field(description="Low and high, both above 0.")

    @model_validator(mode="after")
    def _low_below_high(self) -> LogUniform:
        low, high = self.loguniform
        if min(low, high) <= 0:
            raise ValueError(f"low {shown(min(low, high))} must be above 0 for a logarithm")
        _ordered(low, high)
        return self

    def sample(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Scale the logarithm to the bounds."""
        import numpy as np

        low, high = self.loguniform
        exponents = math.log(low) + uniforms * (math.log(high) - math.log(low))
        return _values(np.clip(np.exp(exponents), low, high))

    def describe(self) -> str:
        """Name the bounds."""
        return f"log-uniform from {shown(self.loguniform[0])} to {shown(self.loguniform[1])}"

    def bounds(self) -> tuple[float, float]:
        """Return low and high."""
        return self.loguniform


class MeanStd(Frozen):
    """Parameters of a normal distribution."""

    mean: Number = Field(description="Centre.")
    std: Weight = Field(description="Standard deviation, above 0.")


class MeanStdLowHigh(MeanStd):
    """Parameters of a truncated normal distribution."""

    low: Number = Field(description="Lower bound.")
    high: Number = Field(description="Upper bound.")


class Normal(_Continuous):
    """Normal distribution without bounds: `{normal: {mean: 3, std: 1}}`."""

    normal: MeanStd = Field(description="Mean and standard deviation.")

    def sample(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Invert the normal distribution."""
        inverse = NormalDist(self.normal.mean, self.normal.std).inv_cdf
        return [inverse(uniform) for uniform in uniforms.tolist()]

    def describe(self) -> str:
        """Name the parameters."""
        return f"normal, mean {shown(self.normal.mean)}, std {shown(self.normal.std)}"

    def bounds(self) -> tuple[float, float]:
        """Return the whole line."""
        return (-math.inf, math.inf)


_SMALLEST_SHARE = 1e-9


class TruncatedNormal(_Continuous):
    """Normal distribution between bounds."""

    truncated_normal: MeanStdLowHigh = Field(description="Mean, standard deviation and bounds.")

    @model_validator(mode="after")
    def _holds_something(self) -> TruncatedNormal:
        own = self.truncated_normal
        _ordered(own.low, own.high)
        low, high, _ = self._tail()
        if high - low < _SMALLEST_SHARE:
            raise ValueError(
                f"a normal with mean {shown(own.mean)} and std {shown(own.std)} has no values "
                f"between {shown(own.low)} and {shown(own.high)}; move the mean or the bounds"
            )
        return self

    def _tail(self) -> tuple[float, float, float]:
        """Return the probabilities below low and high, mirrored in the upper tail for precision."""
        own, normal = self.truncated_normal, NormalDist()
        low, high = (own.low - own.mean) / own.std, (own.high - own.mean) / own.std
        sign = -1.0 if low > 0 else 1.0
        ends = sorted((normal.cdf(sign * low), normal.cdf(sign * high)))
        return ends[0], ends[1], sign

    def sample(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Invert the part of the normal distribution between the bounds."""
        import numpy as np

        own = self.truncated_normal
        low, high, sign = self._tail()
        along = uniforms if sign > 0 else 1 - uniforms
        inverse = NormalDist().inv_cdf
        standard = np.array([inverse(share) for share in (low + along * (high - low)).tolist()])
        return _values(np.clip(own.mean + own.std * sign * standard, own.low, own.high))

    def describe(self) -> str:
        """Name the parameters."""
        own = self.truncated_normal
        return (
            f"normal, mean {shown(own.mean)}, std {shown(own.std)}, "
            f"from {shown(own.low)} to {shown(own.high)}"
        )

    def bounds(self) -> tuple[float, float]:
        """Return low and high."""
        return self.truncated_normal.low, self.truncated_normal.high


class WholeNumbers(Distribution):
    """Integers from low to high, both included: `{integers: [1, 5]}`."""

    integers: tuple[Integer, Integer] = Field(description="Low and high, both included.")

    @model_validator(mode="after")
    def _low_below_high(self) -> WholeNumbers:
        low, high = self.integers
        if low > high:
            raise ValueError(f"low {low} is above high {high}; swap them")
        if high - low >= 2**52:
            raise ValueError(
                "contains more than 2^52 integers, the most that one random value can choose from; "
                "use a smaller range"
            )
        return self

    def sample(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Divide (0, 1) into equal parts."""
        low, high = self.integers
        return _values(low + (uniforms * (high - low + 1)).astype("int64"))

    def describe(self) -> str:
        """Name the bounds."""
        return f"whole number from {self.integers[0]} to {self.integers[1]}"

    def values(self) -> list[Value] | None:
        """Return the numbers, if they are few."""
        low, high = self.integers
        return list(range(low, high + 1)) if high - low < 1000 else None

    def bounds(self) -> tuple[float, float]:
        """Return low and high."""
        return self.integers

    def type(self) -> ValueType:
        """Return int64."""
        return "int64"


def _values(numbers: Floats | Integers) -> list[Value]:
    return cast("list[Value]", numbers.tolist())
