"""The zero-shot probe: a small classifier trained on generated images, scored on held-out photos.

It is cheap enough for repeated use during training: the averaged model generates a few hundred
images of the focus classes with the plain prompts of the paper, decoded linearly. No test images
are used.
"""

from pathlib import Path

import numpy as np
import torch

from train.generator.images.captions import with_article
from train.generator.images.data import load_held_out
from train.generator.network.denoiser import Denoiser
from train.generator.network.latents import PatchBasis
from train.generator.network.sampling import LabelledImages
from train.generator.network.sheets import linear_images, sample
from train.generator.network.text import TokenCache
from train.generator.probe.judges import shrink, zero_shot

PER_CLASS = 60
BATCH = 100
STEPS = 12
EPOCHS = 15


class RunProbe:
    """Scores a model on the held-out photographs of its run."""

    def __init__(self, folder: Path, basis: PatchBasis, tokens: TokenCache) -> None:
        held_out = load_held_out(folder / "data")
        self._basis, self._tokens = basis, tokens
        self._real: LabelledImages | None = None
        if held_out is not None:
            images, classes = held_out
            self._names, labels = np.unique(classes, return_inverse=True)
            self._real = LabelledImages(shrink(images), labels.astype(np.int64))

    def __call__(self, model: Denoiser) -> float | None:
        """Return top-1 on the held-out photographs, 0 to 1; None for a run without any."""
        if self._real is None:
            return None
        count = PER_CLASS * len(self._names)
        labels = np.arange(count) % len(self._names)
        prompts = [f"an image of {with_article(str(self._names[label]))}" for label in labels]
        batches = []
        for start in range(0, count, BATCH):
            # Half at guidance 1.5, half at 3, as in training datasets.
            latents = sample(
                model,
                self._tokens(prompts[start : start + BATCH]),
                self._tokens([""]),
                guidance_scale=1.5 if (start // BATCH) % 2 else 3.0,
                steps=STEPS,
                seed=1_000 + start,
            )
            batches.append(linear_images(self._basis, latents))
        generated = LabelledImages(shrink(np.concatenate(batches)), labels.astype(np.int64))
        # Within an outer autocast, weights would be cast once and kept, and the classifier would
        # not train.
        with torch.random.fork_rng(), torch.autocast("cpu", enabled=False):
            return zero_shot(generated, self._real, epochs=EPOCHS).top1
