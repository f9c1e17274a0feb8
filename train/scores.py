"""Loss and accuracy of a batch, of an epoch, and whether the loss is still a number."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from factory.errors import Failure


class Scores(NamedTuple):
    """Means over images of all processes: loss, and the fraction that is right."""

    loss: float
    top1: float


def sums_of(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Return loss summed over images, right answers and images of a batch; float64, shape (3,)."""
    right = (logits.argmax(dim=1) == labels).sum()
    count = torch.tensor(len(labels), device=loss.device)
    return torch.stack((loss.double(), right.double(), count.double()))


def check_finite(parts: list[Tensor], *, epoch: int, lr: float) -> None:
    """See that every loss of an epoch so far is finite.

    Args:
        parts: Results of `sums_of`, one a step.
        epoch: From 0.
        lr: The latest learning rate.

    Raises:
        Failure: One is not; names epoch and step, both from 1.
    """
    losses = torch.stack(parts)[:, 0]
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        step = int(bad[0]) + 1
        raise Failure(
            f"epoch {epoch + 1}, step {step}: the loss is {float(losses[step - 1])} at learning "
            f"rate {lr:.3g}; try a lower --lr, or --clip-grad-norm 1"
        )
