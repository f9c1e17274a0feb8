"""Mixup and CutMix of timm, with random numbers that depend on the run's seed and step alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from timm.data.mixup import Mixup, mixup_target
from torch import Tensor

from train.settings import Hyperparameters
from train.uniforms import stream_seed

_STREAM = 5


class _OfAnySize(Mixup):  # type: ignore[misc]
    """timm's, also for an odd number of images: the middle one is mixed with itself."""

    def __call__(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        lam = self._mix_elem(x) if self.mode == "elem" else self._mix_batch(x)
        return x, mixup_target(target, self.num_classes, lam, self.label_smoothing)


class ImageMixing:
    """Mixes the images of a batch and their labels, each with its mirror place in the batch."""

    def __init__(self, values: Hyperparameters, *, num_classes: int, seed: int) -> None:
        """Without `mixup` and `cutmix`, images and labels stay as they are."""
        self._seed, self._off_epoch = seed, values.mixup_off_epoch
        self._mixup: Mixup | None = None
        if values.mixup or values.cutmix:
            self._mixup = _OfAnySize(
                mixup_alpha=values.mixup,
                cutmix_alpha=values.cutmix,
                prob=values.mixup_prob,
                switch_prob=values.mixup_switch_prob,
                mode=values.mixup_mode,
                label_smoothing=values.label_smoothing,
                num_classes=num_classes,
            )

    def __call__(
        self, images: Tensor, labels: Tensor, *, epoch: int, place: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Mix a batch in place.

        Args:
            images: Shape (B, 3, S, S).
            labels: Shape (B,).
            epoch: From 0.
            place: Distinguishes the batches of an epoch: step, process and part.

        Returns:
            Images, and their labels (B,) or, if they may be mixed, probabilities (B, C).
        """
        if self._mixup is None or (self._off_epoch and epoch >= self._off_epoch):
            return images, labels
        with _seeded(stream_seed(_STREAM, self._seed, epoch, *place)):
            mixed: tuple[Tensor, Tensor] = self._mixup(images, labels)
        return mixed


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, which timm uses, and restore it."""
    before = np.random.get_state()
    np.random.seed(seed % (1 << 32))
    try:
        yield
    finally:
        np.random.set_state(before)
