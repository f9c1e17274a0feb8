"""The learning rate as a function of the step; it has no state to save."""

from __future__ import annotations

import math
from collections.abc import Callable

from train.settings import Hyperparameters

Rate = Callable[[int], float]
"""From a step, from 0, to its learning rate."""


def make_schedule(values: Hyperparameters, *, steps_per_epoch: int) -> Rate:
    """Return the learning rate of each step.

    A linear warm-up comes first; the schedule begins after it. `cosine` and `constant` are computed
    here, since presets depend on their last digit; timm computes the others.
    """
    every = steps_per_epoch if values.schedule_every == "epoch" else 1
    per_epoch = steps_per_epoch // every
    warmup = round(values.warmup_epochs * per_epoch)
    total = max(values.epochs * per_epoch - warmup, 1)
    after = _after_warmup(values, total=total, per_epoch=per_epoch)

    def rate(step: int) -> float:
        step //= every
        if step < warmup:
            return values.lr * (step + 1) / (warmup + 1)
        return after(step - warmup)

    return rate


def _after_warmup(values: Hyperparameters, *, total: int, per_epoch: int) -> Rate:
    if values.schedule == "constant":
        return lambda _: values.lr
    if values.schedule == "cosine":
        return lambda step: _cosine(step / total, values)
    return _of_timm(values, total=total, per_epoch=per_epoch)


def _cosine(progress: float, values: Hyperparameters) -> float:
    rest = 0.5 * (values.lr - values.min_lr) * (1 + math.cos(math.pi * min(progress, 1)))
    return values.min_lr + rest


def _of_timm(values: Hyperparameters, *, total: int, per_epoch: int) -> Rate:
    """Return a schedule of timm, whose rate depends on the step alone."""
    import torch
    from timm.scheduler import create_scheduler_v2

    holder = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=values.lr)
    scheduler, _ = create_scheduler_v2(
        holder,
        sched=values.schedule,
        num_epochs=total,
        decay_epochs=round(values.decay_epochs * per_epoch),
        # timm's `multistep` lowers the rate one step before a milestone.
        decay_milestones=[one * per_epoch + 1 for one in values.decay_milestones],
        decay_rate=values.decay_rate,
        min_lr=values.min_lr,
        warmup_epochs=0,
        step_on_epochs=False,
        updates_per_epoch=1,
    )

    def rate(step: int) -> float:
        scheduler.step_update(num_updates=step)
        return float(holder.param_groups[0]["lr"])

    return rate
