"""From pixels to the input of a model: augmented for training, or as in scoring."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.augment import NUM_DRAWS, augment, centre_crop, normalise, to_float
from train.policies import apply_policy, erase, make_policy
from train.settings import Augmentation, Hyperparameters
from train.uniforms import uniforms

# Of the draws after `NUM_DRAWS`: two for timm's policy, two for random erasing.
_SEED_DRAWS = 4
_DRAW_VALUES = 1 << 24


class Inputs:
    """Turns pixels into inputs of a model, on one device."""

    def __init__(
        self,
        values: Hyperparameters,
        *,
        seed: int,
        device: torch.device,
        cropped: bool = False,
    ) -> None:
        """Check timm's policy.

        Raises:
            UserError: timm has no such policy.
        """
        if values.mean is None or values.std is None or values.image_size is None:
            raise AssertionError("mean, std and size are resolved before training")
        self._mean, self._std = values.mean, values.std
        self._test_crop, self._seed, self._device = values.test_crop, seed, device
        self._augmentation: Augmentation = values.augmentation
        if cropped:
            whole = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)}
            self._augmentation = values.augmentation.model_copy(update=whole)
        self._policy = None
        if values.augmentation.aa is not None:
            self._policy = make_policy(
                values.augmentation.aa,
                side=values.image_size,
                mean=values.mean,
                resample=values.resample,
            )

    def for_training(self, pixels: Tensor, rows: NDArray[np.int64], *, epoch: int) -> Tensor:
        """Return augmented inputs.

        timm's policy sees the whole image; then crops, flips and colours follow, and random erasing
        is last.

        Args:
            pixels: uint8, shape (B, S, S, 3).
            rows: Numbers of the images, shape (B,); they decide their augmentation.
            epoch: From 0.

        Returns:
            Float32, shape (B, 3, S, S).
        """
        seeded = self._policy or self._augmentation.reprob
        num_draws = NUM_DRAWS + (_SEED_DRAWS if seeded else 0)
        draws = uniforms(rows, seed=self._seed, epoch=epoch, num_draws=num_draws)
        seeds = draws[:, NUM_DRAWS:]
        if self._policy:
            pixels = apply_policy(self._policy, pixels.cpu(), _seeds(seeds[:, :2]))
        images = to_float(pixels.to(self._device, non_blocking=True))
        own = torch.from_numpy(draws[:, :NUM_DRAWS]).to(self._device)
        images = augment(images, own, self._augmentation)
        images = normalise(images, mean=self._mean, std=self._std)
        if self._augmentation.reprob:
            images = erase(images, _seeds(seeds[:, 2:]), self._augmentation)
        return images

    def for_scoring(self, pixels: Tensor) -> Tensor:
        """Return inputs as in scoring: without augmentation, cropped to the centre if asked to."""
        images = to_float(pixels.to(self._device, non_blocking=True))
        if self._test_crop < 1:
            images = centre_crop(images, self._test_crop)
        return normalise(images, mean=self._mean, std=self._std)


def _seeds(draws: NDArray[np.float32]) -> NDArray[np.int64]:
    """Combine two draws of 24 bits, shape (B, 2), into seeds of 48 bits, shape (B,)."""
    bits = (draws.astype(np.float64) * _DRAW_VALUES).astype(np.int64)
    combined: NDArray[np.int64] = bits[:, 0] * _DRAW_VALUES + bits[:, 1]
    return combined
