"""Loss and accuracy of batches and epochs, and a check that the loss is finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from factory.common.errors import Failure


class Scores(NamedTuple):
    """Means over images of all processes: loss, and the fraction classified correctly."""

    loss: float
    top1: float


def sums_of(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Return summed loss, correct predictions and images of a batch; float32, shape (3,).

    Float32 holds both counts exactly.
    """
    right = (logits.argmax(dim=1) == labels).sum()
    count = torch.tensor(len(labels), device=loss.device)
    return torch.stack((loss.float(), right.float(), count.float()))


def total_of(parts: Sequence[Tensor]) -> NDArray[np.float64]:
    """Return the sum of results of `sums_of`, shape (3,).

    NumPy adds in float64, which Apple's MPS devices do not have.
    """
    if not parts:
        return np.zeros(3)
    total: NDArray[np.float64] = torch.stack(list(parts)).cpu().numpy().sum(0, dtype=np.float64)
    return total


def check_finite(parts: list[Tensor], *, epoch: int, lr: float) -> None:
    """Check that every loss of an epoch so far is finite.

    Raises:
        Failure: A loss is not finite; the message names epoch and step, both from 1.
    """
    losses = torch.stack(parts)[:, 0]
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        step = int(bad[0]) + 1
        raise Failure(
            f"epoch {epoch + 1}, step {step}: the loss is {float(losses[step - 1])} at learning "
            f"rate {lr:.3g}; try a lower --lr, or --clip-grad-norm 1"
        )
