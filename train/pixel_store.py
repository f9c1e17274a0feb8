"""The pixels of a run in memory, handed out by rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.data import LabelledPixels

# Largest share of the device's free memory for the pixels.
_RESIDENT_SHARE = 0.25


class Batch(NamedTuple):
    """Some images: their numbers (B,), pixels (B, S, S, 3) as uint8, and labels (B,).

    A number may be that of a repeat, see `train.mixing.rows_of_epoch`.
    """

    rows: NDArray[np.int64]
    pixels: Tensor
    labels: Tensor

    def split(self, parts: int) -> list[Batch]:
        """Return the batch in parts whose sizes differ by at most one."""
        rows = np.array_split(self.rows, parts)
        pixels, labels = self.pixels.tensor_split(parts), self.labels.tensor_split(parts)
        return [Batch(*one) for one in zip(rows, pixels, labels, strict=True)]


class PixelStore(Protocol):
    """Hands out the images of a run."""

    def batches(
        self, rows: Iterable[NDArray[np.int64]], *, epoch: int | None = None
    ) -> Iterator[Batch]:
        """Yield batches of some rows, for training in an epoch, or for scoring."""


class PixelsInMemory:
    """All pixels decoded once; on the GPU if they need little of its memory."""

    def __init__(self, data: LabelledPixels, device: torch.device) -> None:
        """Place pixels and labels."""
        self._device = device
        self._pixels, self._labels = torch.from_numpy(data.pixels), torch.from_numpy(data.labels)
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if self._pixels.nbytes < _RESIDENT_SHARE * free:
                self._pixels, self._labels = self._pixels.to(device), self._labels.to(device)

    def batches(
        self, rows: Iterable[NDArray[np.int64]], *, epoch: int | None = None
    ) -> Iterator[Batch]:
        """Yield batches of some rows; labels are on the device.

        The epoch does not matter here: random crops are taken later, from the pixels.
        """
        for part in rows:
            index = torch.from_numpy(part % len(self._labels)).to(self._pixels.device)
            labels = self._labels[index].to(self._device, non_blocking=True)
            yield Batch(part, self._pixels[index], labels)
