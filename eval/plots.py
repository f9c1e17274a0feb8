"""Plot a confusion matrix."""

from pathlib import Path
from typing import Any

import numpy as np

from eval.scores_file import Scores
from factory.common.plot_style import own_style
from factory.common.plot_text import plot_font
from factory.common.whole_files import replace_file

# With more classes, numbers in the cells and full names are unreadable.
_MAX_NUMBERED = 20
_MAX_NAMED = 60


def plot_confusion(scores: Scores, path: Path) -> None:
    """Write the confusion matrix as a PNG: each row's shares in per cent, darker is more."""
    title = _title(scores)
    font = plot_font([title, *scores.labels.names])
    with own_style(font.style):
        figure = _figure(scores, font.numbered(scores.labels.names), title=font.shown(title))
        plain = {"Software": None}
        replace_file(path, lambda to: figure.savefig(to, format="png", dpi=120, metadata=plain))


def _figure(scores: Scores, names: list[str], *, title: str) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = np.asarray(scores.metrics.confusion_matrix, dtype=np.float64)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows, columns = shares.shape
    width, height = (min(14.0, 2.5 + 0.45 * count) for count in (columns, rows))
    figure = Figure(figsize=(max(width, 6.0), max(height, 5.0)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="share of the true class, %", fraction=0.046, pad=0.03)
    _name_axis(axes.xaxis, names, rotation=90 if columns > 10 or max(map(len, names)) > 3 else 0)
    _name_axis(axes.yaxis, names[:rows], rotation=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if columns <= _MAX_NUMBERED:
        _number_cells(axes, shares)
    axes.set_title(title, fontsize=10)
    return figure


def _title(scores: Scores) -> str:
    metrics = scores.metrics
    return (
        f"{scores.model.architecture} of {Path(scores.run).name} on {scores.real.name}\n"
        f"top-1 {100 * metrics.top1:.2f} % of {scores.real.num_images:,} images"
    )


def _name_axis(axis: object, names: list[str], *, rotation: int) -> None:
    step = -(-len(names) // _MAX_NAMED)
    ticks = range(0, len(names), step)
    size = 9 if len(names) <= _MAX_NUMBERED else 6
    axis.set_ticks(ticks, [names[tick] for tick in ticks], rotation=rotation, fontsize=size)  # type: ignore[attr-defined]  # matplotlib's Axis, imported lazily


def _number_cells(axes: object, shares: np.ndarray) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.5:
            colour = "white" if share > 60 else "black"
            axes.text(  # type: ignore[attr-defined]  # matplotlib's Axes, imported lazily
                column, row, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=8
            )
