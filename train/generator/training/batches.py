"""Training batches as a function of (seed, rank, step), and their loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from train.generator.images.captions import Captioner
from train.generator.images.data import Collection
from train.generator.network.denoiser import TRAIN_STEPS
from train.generator.network.text import TokenCache


@dataclass(frozen=True)
class TrainingSet:
    """Data to sample batches from.

    Attributes:
        latents: float16 (N, C, h, w).
        collection: Images and their facts.
        caption: Makes captions from facts.
        empty: Share of empty captions, for guidance.
        cumulative: Cumulative sampling probabilities of the images, float64 (N).
    """

    latents: Tensor
    collection: Collection
    caption: Captioner
    empty: float
    cumulative: NDArray[np.float64]

    def choose(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """Sample image numbers by their weights."""
        places = np.searchsorted(self.cumulative, rng.random(size) * self.cumulative[-1])
        chosen: NDArray[np.int64] = np.minimum(places, len(self.cumulative) - 1)
        return chosen


@dataclass(frozen=True)
class Batch:
    """Latents (N, C, h, w), noise of that shape, timesteps (N) and token ids (N, length)."""

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    tokens: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        parts = (self.latents, self.noise, self.timesteps, self.tokens)
        return Batch(*(part.to(device, non_blocking=True) for part in parts))


def sample_batch(data: TrainingSet, tokens: TokenCache, *, size: int, seed: list[int]) -> Batch:
    """Sample a batch; timesteps are stratified over the schedule."""
    rng = np.random.default_rng(seed)
    indexes = data.choose(rng, size)
    captions = [
        "" if rng.random() < data.empty else data.caption(data.collection.facts[i], rng)
        for i in indexes
    ]
    slots = (np.arange(size) + rng.random(size)) / size
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    latents = data.latents[torch.from_numpy(indexes)].float()
    return Batch(
        latents=latents,
        noise=torch.randn(latents.shape, generator=generator),
        timesteps=torch.from_numpy((slots * TRAIN_STEPS).astype(np.int64)),
        tokens=tokens(captions),
    )


def denoising_loss(model: Any, batch: Batch, schedule: Any) -> Tensor:
    """Return the mean squared error of v for each sample, (N)."""
    noisy = schedule.add_noise(batch.latents, batch.noise, batch.timesteps)
    target = schedule.get_velocity(batch.latents, batch.noise, batch.timesteps)
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    predicted = model(noisy, batch.timesteps, batch.tokens)
    return functional.mse_loss(predicted, target, reduction="none").mean((1, 2, 3))
