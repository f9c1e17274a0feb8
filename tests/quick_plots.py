"""One plot for all cards, and one for all run folders: they take as long as what they describe.

`test_card.py` and `test_train_interrupted.py` draw others. Every process that imports this module
has the same bytes, so datasets of several can be compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.card import images, plots_ahead
from factory.card.spreads import spreads
from factory.common.whole_files import replace_file
from train import curves

if TYPE_CHECKING:
    from factory.recipe.resolved import ResolvedRecipe

draw_curves = curves.draw_curves


@cache
def _distributions() -> bytes | None:
    from factory.recipe.library import load_recipe

    return plots_ahead.plot_distributions([load_recipe("quickstart/random-guidance")])


@cache
def _curves() -> bytes:
    row = {"train_loss": 1.0, "train_top1": 0.5, "val_loss": 1.0, "val_top1": 0.5, "lr": 0.1}
    with tempfile.TemporaryDirectory() as folder:
        draw_curves(Path(folder), [{"epoch": 1} | row, {"epoch": 2} | row], best_epoch=1)
        return Path(folder, curves.CURVES).read_bytes()


def _plot_distributions(recipes: Sequence[ResolvedRecipe]) -> bytes | None:
    return _distributions() if any(spreads(recipes)) else None


def _draw_curves(out: Path, rows: Sequence[Mapping[str, Any]], *, best_epoch: int) -> None:
    assert rows and best_epoch
    replace_file(out / curves.CURVES, lambda path: path.write_bytes(_curves()))


def draw() -> None:
    """Draw both now, for the forks of this process."""
    _distributions()
    _curves()


# No other process plots meanwhile: `test_plots_ahead.py` has it.
plots_ahead.cores_per_process = lambda: 1
images.plot_distributions = _plot_distributions
curves.draw_curves = _draw_curves
