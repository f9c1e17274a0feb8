"""Smaller parts for commands of pages: cards and gaps without plots, 100 of the 1,797 real digits.

They take most of the time of a small build, and of a score. `test_card.py`, `test_eval_gap.py` and
`test_eval_digits.py` have the whole ones.
"""

from typing import Any

from eval import digits, gap_steps
from factory.card import images, plots_ahead

_whole = digits.digit_pixels


def _digit_pixels() -> tuple[Any, list[int]]:
    pixels, labels = _whole()
    return pixels[:100], labels[:100]


images.plot_distributions = lambda recipes: None
plots_ahead.cores_per_process = lambda: 1
for _plot in ("plot_sets", "plot_classes", "plot_coverage", "embed"):
    setattr(gap_steps, _plot, lambda *_, **__: None)
digits.digit_pixels = _digit_pixels
