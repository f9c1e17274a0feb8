"""The plots of a card: the distribution of guidance, steps and variables over the images.

This module imports little besides matplotlib, because a build starts a process that only plots
(`factory.card.plots_ahead`).
"""

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.common.imports import without_garbage_collection
from factory.common.plot_style import own_style
from factory.common.plot_text import in_bundled
from factory.distributions.template import Value, shown

_MAX_BARS = 12
_MAX_LETTERS = 34
_LEAST_SLOTS = 6
_BINS = 24
_WIDTH = 9.0
_INK = "#2b2b2b"
_SOFT = "#d9d9d9"
_COLOURS = ("#3b6ea8", "#c8793a", "#4f8f5b", "#8a5fa8", "#b0484f", "#5b8f97", "#9a8436", "#6b6b6b")


@dataclass(frozen=True)
class Spread:
    """The values of one quantity in one config, counted over its first images.

    Attributes:
        configs: Names; several if they sample the quantity in the same way.
        values: Values in plan order; None if a class has none.
    """

    configs: tuple[str, ...]
    values: tuple[Value | None, ...]

    @property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        return len(set(self.values)) > 1


Named = list[tuple[str, Spread]]
Ridges = list[tuple[str, list[Spread]]]


def draw(numbers: Ridges, named: Named) -> bytes:
    """Plot what `factory.card.spreads` has counted, at least one quantity; return a PNG."""
    with own_style():
        return _png(numbers, named)


def _png(numbers: Ridges, named: Named) -> bytes:
    with without_garbage_collection():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    rows_of_bars = [named[start : start + 2] for start in range(0, len(named), 2)]
    heights = [0.9 + 0.34 * len(spread) for _, spread in numbers]
    heights += [max(0.9 + 0.24 * _slots(spread) for _, spread in row) for row in rows_of_bars]
    figure = Figure(figsize=(_WIDTH, sum(heights)), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    for row, (name, ridges) in enumerate(numbers):
        _draw_ridges(figure.add_subplot(grid[row, :]), name, ridges)
    for row, bars in enumerate(rows_of_bars, start=len(numbers)):
        for column, (name, spread) in enumerate(bars):
            place = grid[row, column] if len(bars) == 2 else grid[row, :]
            slots = max(_slots(one) for _, one in bars)
            _draw_spread(figure.add_subplot(place), name, spread, slots=slots)
    buffer = io.BytesIO()
    # `savefig` gives the same bytes, but draws twice, and drawing takes most of the time of a card.
    # The default metadata names matplotlib's version.
    canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def _slots(spread: Spread) -> int:
    """Return the height of a panel in bars."""
    return _LEAST_SLOTS if _is_number(spread) else min(len(set(spread.values)), _MAX_BARS + 1)


def _is_number(spread: Spread) -> bool:
    """Whether a histogram is better than one bar per value."""
    values = [value for value in spread.values if value is not None]
    numeric = all(isinstance(value, int | float) for value in values)
    return numeric and len(set(values)) > _MAX_BARS


def _draw_ridges(axes: Any, name: str, spread: Sequence[Spread]) -> None:
    """Plot one line per config: a histogram for several values, a dot for one."""
    everything = [float(value) for one in spread for value in one.values if value is not None]
    low, high = min(everything), max(everything)
    edges = _edges(everything)
    for place, one in enumerate(spread):
        base, colour = len(spread) - 1 - place, _COLOURS[place % len(_COLOURS)]
        axes.axhline(base, color=_SOFT, linewidth=0.8, zorder=0)
        values = [float(value) for value in one.values if value is not None]
        if one.varies:
            counts, _ = np.histogram(values, bins=edges)
            hill = base + 0.8 * counts / counts.max()
            axes.stairs(hill, edges, baseline=base, fill=True, color=colour, alpha=0.75)
        else:
            axes.plot([values[0]], [base], "o", color=colour, markersize=7)
            axes.annotate(
                shown(one.values[0] or 0),
                (values[0], base),
                xytext=(7, 4),
                textcoords="offset points",
                fontsize=8,
                color=_INK,
            )
    labels = [one.configs[0] for one in reversed(spread)]
    axes.set_yticks(range(len(spread)), labels, fontsize=9, color=_INK)
    axes.set_ylim(-0.35, len(spread) - 0.05)
    margin = 0.06 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    _finish(axes, name)


def _edges(values: Sequence[float]) -> NDArray[np.float64]:
    """Return bin edges; integers are spread evenly over the bins."""
    low, high = min(values), max(values)
    if any(not value.is_integer() for value in values):
        return np.linspace(low, high, _BINS + 1)
    step = max(1.0, np.ceil((high - low + 1) / _BINS))
    return np.arange(low - 0.5, high + 0.5 + step, step)


def _draw_spread(axes: Any, name: str, spread: Spread, *, slots: int) -> None:
    colour = _COLOURS[0]
    if _is_number(spread):
        values = [float(value) for value in spread.values if value is not None]
        counts, edges = np.histogram(values, bins=_edges(values))
        axes.stairs(100 * counts / len(spread.values), edges, fill=True, color=colour, alpha=0.85)
        axes.set_ylabel("% of images", fontsize=8, color=_INK)
    else:
        _draw_bars(axes, spread, colour, slots=slots)
    _finish(axes, f"{name}  ({_short(', '.join(spread.configs))})")


def _draw_bars(axes: Any, spread: Spread, colour: str, *, slots: int) -> None:
    counted = sorted(Counter(spread.values).items(), key=lambda one: (-one[1], str(one[0])))
    kept = [("none" if value is None else shown(value), n) for value, n in counted[:_MAX_BARS]]
    rest = counted[_MAX_BARS:]
    if rest:
        kept.append((f"{len(rest)} more", sum(count for _, count in rest)))
    places = range(len(kept) - 1, -1, -1)
    shares = [100 * count / len(spread.values) for _, count in kept]
    colours = [colour] * min(len(counted), _MAX_BARS) + [_SOFT] * bool(rest)
    axes.barh(places, shares, height=0.66, color=colours, alpha=0.85)
    names = in_bundled([name for name, _ in kept], what="distributions.png")
    axes.set_yticks(places, [_short(name) for name in names], fontsize=8, color=_INK)
    # Bars have the thickness of those in the next panel, and start at the top.
    axes.set_ylim(len(kept) - 0.4 - slots - 0.2, len(kept) - 0.4)
    axes.set_xlabel("% of images", fontsize=8, color=_INK)


def _finish(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", color=_INK, parse_math=False)
    axes.tick_params(length=0, labelsize=8, labelcolor=_INK)
    for label in (*axes.get_yticklabels(), *axes.get_xticklabels()):
        # A dollar sign in a value does not start a formula.
        label.set_parse_math(False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_SOFT)


def _short(text: str) -> str:
    return text if len(text) <= _MAX_LETTERS else f"{text[: _MAX_LETTERS - 1]}…"
