"""Loss and accuracy of batches, epochs and held-out images; a check that losses are finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from factory.common.errors import Failure
from train.data import part_of_rank
from train.inputs import Inputs
from train.pixel_store import PixelStore
from train.rows import RunRows
from train.several_labels import ClassScores, class_scores

if TYPE_CHECKING:
    from accelerate import Accelerator

_BATCH = 256
REMEDY = "try a lower --lr, or --clip-grad-norm 1, with another --out"
"""Against a loss that is not finite."""


class Scores(NamedTuple):
    """Means over images of all processes: loss, and the fraction classified correctly."""

    loss: float
    top1: float


def sums_of(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Return summed loss, correct predictions and images of a batch; float32, shape (3,).

    With several labels per image, the class with the highest logit must be one of them. Float32
    holds both counts exactly.
    """
    first = logits.argmax(dim=1)
    right = (first == labels if labels.ndim == 1 else labels.gather(1, first[:, None])).sum()
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


def check_finite(parts: list[Tensor], *, epoch: int, first: int, lr: float, kept: str) -> None:
    """Check that the losses of some steps are finite.

    Raises:
        Failure: A loss is not finite; the message names epoch and step, both from 1.
    """
    losses = torch.stack(parts)[:, 0]
    bad = (~torch.isfinite(losses)).nonzero()
    if len(bad):
        worst = int(bad[0])
        raise Failure(
            f"epoch {epoch + 1}, step {first + worst + 1}: the loss is {losses[worst]} at learning "
            f"rate {lr:.3g}; {kept}; {REMEDY}"
        )


class HeldOut:
    """The held-out images of one or several datasets.

    Attributes:
        top1_by_part: Latest accuracy on those of each of several datasets; None for one without
            any.
        by_class: Latest scores of each class, if images have several labels.
    """

    def __init__(
        self,
        images: PixelStore,
        inputs: Inputs,
        rows: RunRows,
        *,
        accelerator: Accelerator,
    ) -> None:
        """Remember the rows held out of each dataset."""
        self._images, self._inputs, self._parts = images, inputs, rows.val_parts
        self._accelerator = accelerator
        self.top1_by_part: list[float | None] = []
        self.by_class: list[ClassScores] = []
        self._several_labels = rows.several_labels
        self._answers: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []

    def score(self, model: nn.Module) -> Scores:
        """Score each image exactly once over all processes, with a model in evaluation mode."""
        self._answers = []
        sums = [self._sums(model, part) for part in self._parts]
        if self._several_labels:
            everyone = gather_object(self._answers)
            logits, labels = map(np.concatenate, zip(*everyone, strict=True))
            self.by_class = class_scores(logits, labels)
        if len(sums) > 1:
            self.top1_by_part = [
                self.total(one).top1 if len(part) else None
                for one, part in zip(sums, self._parts, strict=True)
            ]
        return self.total([batch for one in sums for batch in one])

    def total(self, sums: list[Tensor]) -> Scores:
        """Return the means of results of `sums_of`, over all processes."""
        total = total_of(sums)
        if self._accelerator.num_processes > 1:
            mine = torch.from_numpy(total).to(self._accelerator.device)
            total = self._accelerator.reduce(mine, reduction="sum").cpu().numpy()
        return Scores(loss=float(total[0] / total[2]), top1=float(total[1] / total[2]))

    def _sums(self, model: nn.Module, part: NDArray[np.int64]) -> list[Tensor]:
        """Return the results of `sums_of` for this process's share of some rows."""
        rank, world_size = self._accelerator.process_index, self._accelerator.num_processes
        rows = part_of_rank(part, rank=rank, world_size=world_size)
        sums: list[Tensor] = []
        starts = range(0, len(rows), _BATCH)
        with torch.inference_mode(), self._accelerator.autocast():
            for batch in self._images.batches(rows[start : start + _BATCH] for start in starts):
                logits = model(self._inputs.for_scoring(batch.pixels)).float()
                loss = _plain_loss(logits, batch.labels)
                if self._several_labels:
                    self._answers.append((logits.cpu().numpy(), batch.labels.cpu().numpy()))
                sums.append(sums_of(loss, logits, batch.labels))
        return sums


def _plain_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the summed cross-entropy; of several labels per image the mean over classes."""
    if labels.ndim == 1:
        return functional.cross_entropy(logits, labels, reduction="sum")
    each = functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
    return each.mean(dim=1).sum()
