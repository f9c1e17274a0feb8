"""Count how often the CPU waits for the GPU in a call, with the debug mode of torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

_TEXT = "synchronizing CUDA operation"
_FEW, _MANY = 2, 4


def waits(call: Callable[[], object]) -> int:
    """Return the number of synchronising operations of a call on a CUDA device."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum(_TEXT in str(one.message) for one in found)


def waits_of_steps(generate: Callable[[int], object]) -> tuple[float, float]:
    """Return those of a further step, and those of a batch besides its steps.

    Args:
        generate: Generates a batch with a number of steps.
    """
    few, many = (waits(lambda steps=steps: generate(steps)) for steps in (_FEW, _MANY))
    step = (many - few) / (_MANY - _FEW)
    return step, few - _FEW * step
