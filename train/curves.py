"""Draw the curves of a run: loss, accuracy and learning rate over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from factory.common.imports import without_garbage_collection
from factory.common.plot_style import own_style
from factory.common.whole_files import replace_file

CURVES = "curves.png"
_SIZE = (12, 3.6)
_MARGINS = {"left": 0.05, "right": 0.99, "top": 0.91, "bottom": 0.14, "wspace": 0.24}
_MARKED = 30
_PANELS = (
    ("loss", ("train_loss", "val_loss")),
    ("top-1 (%)", ("train_top1", "val_top1")),
    ("learning rate", ("lr",)),
)
_NAMES = {"train": "training", "val": "held out", "lr": "learning rate"}


@own_style()
def draw_curves(out: Path, rows: Sequence[Mapping[str, Any]], *, best_epoch: int) -> None:
    """Write `curves.png` into a run folder."""
    with without_garbage_collection():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE)
    FigureCanvasAgg(figure)
    # A layout that measures every text takes as long as a small training.
    figure.subplots_adjust(**_MARGINS)
    epochs = [row["epoch"] for row in rows]
    # A single epoch is a point, which a line does not show.
    marker = "." if len(rows) < _MARKED else ""
    for axes, (title, columns) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        factor = 100 if "%" in title else 1
        for column in columns:
            points = [
                (epoch, factor * row[column])
                for epoch, row in zip(epochs, rows, strict=True)
                if row[column] is not None
            ]
            if points:
                label = _NAMES[column.partition("_")[0]]
                axes.plot(*zip(*points, strict=True), marker=marker, label=label)
        axes.axvline(best_epoch, color="0.7", linestyle=":", label=f"saved: epoch {best_epoch}")
        axes.set(title=title, xlabel="epoch")
        axes.legend()
    replace_file(out / CURVES, partial(figure.savefig, format="png", dpi=100))
