"""Measure whether the model follows the prompt: the loss with a wrong class in the caption."""

import numpy as np
import torch
from numpy.typing import NDArray

from train.generator.network.denoiser import Denoiser, noise_schedule
from train.generator.network.text import TokenCache
from train.generator.training.batches import Batch, TrainingSet, denoising_loss

GAP_TIMES = (200, 500, 800, 950)


@torch.no_grad()
def class_gap(
    model: Denoiser,
    data: TrainingSet,
    tokens: TokenCache,
    *,
    device: torch.device,
    size: int = 256,
) -> list[float]:
    """Return the loss with a wrong class minus that with the right one, at each of `GAP_TIMES`.

    Measured on focus classes if there are any, sampled as in training. It is the first thing to
    watch: a gap that stays below 0.005 means that the model ignores the prompt.
    """
    right, wrong = _gap_pairs(data, size)
    facts = data.collection.facts
    schedule = noise_schedule()
    gaps = []
    for t in GAP_TIMES:
        losses = []
        for named in (wrong, right):
            # The same noise for both: only the class differs.
            rng = np.random.default_rng(t)
            captions = [
                data.caption(_with_subject(facts[i], facts[j]), rng)
                for i, j in zip(right, named, strict=True)
            ]
            latents = data.latents[torch.from_numpy(right)].float()
            noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(t))
            batch = Batch(latents, noise, torch.full((size,), t), tokens(captions)).to(device)
            losses.append(float(denoising_loss(model, batch, schedule).mean()))
        gaps.append(losses[0] - losses[1])
    return gaps


def _gap_pairs(data: TrainingSet, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return image numbers, and for each one an image of another class of the same source."""
    rng = np.random.default_rng(7)
    facts = data.collection.facts
    chosen = data.choose(rng, 40 * size)
    focused = np.array([i for i in chosen if "focus" in facts[i] and "filter" not in facts[i]])
    pool = focused if len(focused) >= size else chosen
    right = pool[:size]
    classes = data.collection.classes()
    sources = np.array([known["source"] for known in facts])
    others = rng.choice(pool, size=(size, 60))
    differs = (classes[others] != classes[right][:, None]) & (
        sources[others] == sources[right][:, None]
    )
    return right, others[np.arange(size), differs.argmax(axis=1)]


def _with_subject(facts: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    """Return facts with the subject of another image."""
    subject = ("digit", "name", "general", "caption", "class", "focus")
    kept = {fact: value for fact, value in facts.items() if fact not in subject}
    return kept | {fact: other[fact] for fact in subject if fact in other}
