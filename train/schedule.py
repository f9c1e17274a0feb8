"""The learning rate as a function of the step; it has no state to save."""

from __future__ import annotations

import math

from train.settings import Hyperparameters


def learning_rate(step: int, *, steps_per_epoch: int, values: Hyperparameters) -> float:
    """Return the learning rate of a step."""
    if values.schedule_every == "epoch":
        step, steps_per_epoch = step // steps_per_epoch, 1
    warmup = round(values.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return values.lr * (step + 1) / (warmup + 1)
    if values.schedule == "constant":
        return values.lr
    total = max(values.epochs * steps_per_epoch - warmup, 1)
    return 0.5 * values.lr * (1 + math.cos(math.pi * min((step - warmup) / total, 1)))
