"""The paper's Figures 2 and 3: real images beside synthetic ones, as PNG and SVG."""

import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.common.plot_style import own_style
from factory.common.plot_text import plot_font
from factory.common.whole_files import replace_file

Places = NDArray[np.float64]

# Okabe and Ito's blue and vermillion: distinct with colour blindness, and in grey.
_REAL, _SYNTHETIC = "#0072B2", "#D55E00"
_INK, _PALE = "#333333", "#d9d9d9"
# Ten equally strong hues; more classes take their colours from a continuous colour map.
_TEN = (
    *("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE"),
    *("#AA3377", "#332288", "#EE7733", "#009988", "#882255"),
)
_MOST_NAMED = 20
_MOST_GROUPS = 100
_STYLE = {
    "svg.hashsalt": "data-factory",
    "svg.fonttype": "path",
}


def plot_sets(places: Places, *, title: str, note: str, path: Path) -> None:
    """Plot real and synthetic images in two colours.

    Args:
        places: Shape (2 n, 2): the real images first, then as many synthetic ones.
        title: One line.
        note: Smaller text below it.
        path: Without suffix; `.png` and `.svg` are written.
    """
    from matplotlib.figure import Figure

    font = plot_font([title, note])
    with own_style(_STYLE | font.style):
        figure = Figure(figsize=(6.4, 6.9), layout="constrained")
        axes = figure.add_subplot()
        half = len(places) // 2
        colours = np.repeat([_REAL, _SYNTHETIC], half)
        # Plotting one side after the other would hide the first.
        order = np.random.default_rng(0).permutation(len(places))
        _dots(axes, places[order], colours[order], size=_dot_size(len(places)))
        for colour, text in ((_REAL, "real"), (_SYNTHETIC, "synthetic")):
            axes.scatter([], [], s=40, c=colour, label=text, linewidths=0)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, handletextpad=0.3)
        _head(figure, font.shown(title), font.shown(note))
        _frame(axes, places)
        _save(figure, path)


def plot_classes(
    places: Places,
    *,
    labels: NDArray[np.int64],
    names: Sequence[str],
    title: str,
    note: str,
    path: Path,
) -> None:
    """Plot the same coordinates by class: real images on the left, synthetic ones on the right."""
    from matplotlib.figure import Figure

    font = plot_font([title, note, *names])
    with own_style(_STYLE | font.style):
        figure = Figure(figsize=(11.4, 6.2), layout="constrained")
        half = len(places) // 2
        shown = [int(label) for label in np.unique(labels)]
        palette = _palette(shown)
        colours = np.array([palette[int(label)] for label in labels])
        sides = figure.subplots(1, 2)
        for axes, side, text in (
            (sides[0], slice(0, half), "real"),
            (sides[1], slice(half, None), "synthetic"),
        ):
            other = places[half:] if side.start == 0 else places[:half]
            _dots(axes, other, np.full(len(other), "#ececec"), size=_dot_size(len(places)))
            _dots(axes, places[side], colours, size=_dot_size(len(places)))
            axes.set_title(text, fontsize=11, color=_INK)
            _frame(axes, places)
        if len(shown) <= _MOST_NAMED:
            _name_classes(figure, sides, shown, palette, font.numbered(names))
        _head(figure, font.shown(title), font.shown(note))
        _save(figure, path)


def plot_coverage(quality: Mapping[str, Any], *, title: str, note: str, path: Path) -> None:
    """Plot the coverage of all images and of each group, beside that of real images."""
    from matplotlib.figure import Figure

    rows = [("all images", quality["figures"]["coverage"])]
    rows += [
        (f"{column}: {name}", group["figures"]["coverage"])
        for column, names in quality["groups"].items()
        for name, group in _least_covered(names)
    ]
    font = plot_font([title, note, *(name for name, _ in rows)])
    with own_style(_STYLE | font.style):
        figure = Figure(figsize=(6.4, 2.2 + 0.24 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        _intervals(axes, [coverage["real"] for _, coverage in rows], _REAL, "real")
        _intervals(axes, [coverage["synthetic"] for _, coverage in rows], _SYNTHETIC, "synthetic")
        axes.set_yticks(range(len(rows)), [font.shown(name) for name, _ in rows])
        axes.invert_yaxis()
        axes.set_xlabel("coverage of the real images, with 95 % intervals")
        axes.grid(axis="x", color=_PALE)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        _head(figure, font.shown(title), font.shown(note))
        _save(figure, path)


def _least_covered(groups: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the measured groups; of very many, those that are covered least."""
    known = [(name, group) for name, group in groups.items() if group["figures"] is not None]
    if len(known) > _MOST_GROUPS:
        known.sort(key=lambda one: one[1]["figures"]["coverage"]["synthetic"]["value"])
    return known[:_MOST_GROUPS]


def _intervals(axes: Any, values: Sequence[Any], colour: str, name: str) -> None:
    centre = np.array([one["value"] for one in values], dtype=float)
    ends = np.array([[one["low"], one["high"]] for one in values], dtype=float).reshape(-1, 2)
    reach = np.abs(ends.T - centre)
    axes.errorbar(
        centre, range(len(values)), xerr=reach, fmt="o", color=colour, label=name, markersize=4
    )


def _palette(shown: Sequence[int]) -> dict[int, str]:
    if len(shown) <= len(_TEN):
        return dict(zip(shown, _TEN, strict=False))
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    wheel = colormaps["turbo"]
    return {label: to_hex(wheel((place + 0.5) / len(shown))) for place, label in enumerate(shown)}


def _name_classes(
    figure: Any, sides: Any, shown: Sequence[int], palette: dict[int, str], names: Sequence[str]
) -> None:
    handles = [
        sides[0].scatter([], [], s=40, c=palette[label], label=names[label], linewidths=0)
        for label in shown
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(shown), 5),
        frameon=False,
        handletextpad=0.3,
        columnspacing=1.4,
    )


def _dots(axes: Any, places: Places, colours: Any, *, size: float) -> None:
    axes.scatter(places[:, 0], places[:, 1], s=size, c=colours, alpha=0.75, linewidths=0)


def _dot_size(images: int) -> float:
    """Return a dot's area in square points: large for few images, small for many."""
    return float(np.clip(24_000 / images, 5, 36))


def _frame(axes: Any, places: Places) -> None:
    low, high = places.min(axis=0), places.max(axis=0)
    margin = 0.05 * (high - low)
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
    # t-SNE's axes have no unit.
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(_PALE)


def _head(figure: Any, title: str, note: str) -> None:
    """Write title and note in a strip above the plot."""
    height = figure.get_figheight()
    # About fourteen letters per inch at this size.
    lines = textwrap.wrap(note, width=round(14 * figure.get_figwidth()))
    strip = (0.46 + 0.17 * len(lines)) / height
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - strip))
    figure.text(0.012, 1 - 0.1 / height, title, fontsize=13, color=_INK, ha="left", va="top")
    below = 1 - 0.4 / height
    text = "\n".join(lines)
    figure.text(0.012, below, text, fontsize=9, color="#666666", ha="left", va="top")


def _save(figure: Any, path: Path) -> None:
    for form, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        write = partial(figure.savefig, format=form, dpi=150, metadata=metadata)
        replace_file(path.with_name(f"{path.name}.{form}"), write)
