"""Geometry of the page's charts: scales, ticks and SVG paths. Templates draw them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

Point = tuple[float, float]
COLOURS, DASHES = 8, 3
"""Of lines: the style sheet has so many colours, and dash patterns after these are used up."""

_MOST_TICKS = 5
_WIDTH, _HEIGHT = 520, 300


@dataclass(frozen=True)
class Scale:
    """A linear scale from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        span = self.high - self.low or 1.0
        return round(self.start + (value - self.low) / span * (self.end - self.start), 1)


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Series:
    """Points of one line; `band` has the lowest and highest value at each x, if several."""

    name: str
    points: list[Point]
    band: list[tuple[float, float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class PlottedLine:
    """A line as SVG paths; `number` chooses its colour and dash pattern."""

    name: str
    number: int
    path: str
    band: str
    end: Point
    last: float


@dataclass(frozen=True)
class Chart:
    """A chart's frame and lines."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[PlottedLine]


def ticks(low: float, high: float, most: int = _MOST_TICKS) -> list[float]:
    """Return round values from `low` to `high`: at most `most` steps."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    step = 10 ** math.floor(math.log10(span / most))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 10) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float) -> str:
    """Return a tick's label without trailing zeros."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.6g}"


def marks(scale: Scale, *, whole: bool = False) -> list[Tick]:
    """Return the ticks of an axis; `whole` for values such as epochs."""
    places = [one for one in ticks(scale.low, scale.high) if not whole or float(one).is_integer()]
    return [Tick(scale(value), tick_text(value)) for value in places]


def line_path(points: Sequence[Point]) -> str:
    """Return an SVG path through some points."""
    return "".join(f"{'L' if place else 'M'}{x:g},{y:g}" for place, (x, y) in enumerate(points))


def line_chart(
    series: Sequence[Series], *, x_label: str, y_label: str, from_zero: bool = False
) -> Chart:
    """Return a chart of some lines, with axes that contain all points and bands, and 0 if asked."""
    left, right, top, bottom = 46, _WIDTH - 12, 12, _HEIGHT - 40
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    ys += [end for one in series for _, *ends in one.band for end in ends]
    x = Scale(min(xs), max(max(xs), min(xs) + 1), left, right)
    pad = 0.05 * ((max(ys) - min(ys)) or 1)
    low = min(0.0, *ys) if from_zero else min(ys) - pad
    y = Scale(low, max(ys) + pad, bottom, top)
    return Chart(
        *(_WIDTH, _HEIGHT, left, right, top, bottom, x_label, y_label),
        x_ticks=marks(x, whole=all(one.is_integer() for one in map(float, xs))),
        y_ticks=marks(y),
        lines=[_plotted(one, number, x, y) for number, one in enumerate(series)],
    )


def _plotted(one: Series, number: int, x: Scale, y: Scale) -> PlottedLine:
    upper = [(x(at), y(high)) for at, _, high in one.band]
    lower = [(x(at), y(low)) for at, low, _ in reversed(one.band)]
    points = [(x(at), y(value)) for at, value in one.points]
    band = f"{line_path([*upper, *lower])}Z" if one.band else ""
    return PlottedLine(one.name, number, line_path(points), band, points[-1], one.points[-1][1])
