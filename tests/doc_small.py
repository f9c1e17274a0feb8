"""Smaller parts for commands of pages: a card without plots, and 100 of the 1,797 real digits.

They take most of the time of a small build, and of a score. `test_card.py` and
`test_eval_digits.py` have the whole ones.
"""

from typing import Any

from eval import digits
from factory.card import images, plots_ahead

_whole = digits.digit_pixels


def _digit_pixels() -> tuple[Any, list[int]]:
    pixels, labels = _whole()
    return pixels[:100], labels[:100]


images.plot_distributions = lambda recipes: None
plots_ahead.cores_per_process = lambda: 1
digits.digit_pixels = _digit_pixels
