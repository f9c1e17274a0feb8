"""Generate images with an exported pipeline through its public call, one seed per image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from train.generator.images.captions import WORDS, with_article
from train.generator.images.domains import DOMAINS

STEPS = 12
BATCH_SIZE = 64


@dataclass(frozen=True)
class LabelledImages:
    """Images and their prompted classes.

    Attributes:
        images: uint8 (N, size, size, 3).
        labels: Number of the class in the prompt, int64 (N).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def load_pipeline(folder: Path, *, dtype: torch.dtype = torch.float32) -> Any:
    """Load a pipeline folder, without progress bars."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.to(dtype)
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(
    pipeline: Any,
    prompts: Sequence[str],
    *,
    guidance_scale: float,
    seed: int = 0,
    steps: int = STEPS,
) -> NDArray[np.uint8]:
    """Generate one image per prompt, uint8 (N, size, size, 3); image i has seed `seed + i`."""
    batches = []
    for start in range(0, len(prompts), BATCH_SIZE):
        part = list(prompts[start : start + BATCH_SIZE])
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(part))]
        generated = pipeline(
            part,
            guidance_scale=guidance_scale,
            num_inference_steps=steps,
            generator=generators,
            output_type="np",
        ).images
        batches.append(np.round(generated * 255).astype(np.uint8))
    return np.concatenate(batches)


def digit_prompts(template: str, *, per_class: int) -> tuple[list[str], NDArray[np.int64]]:
    """Fill a template's `{}` with the ten words in turn, and return the labels too."""
    labels = np.arange(10 * per_class) % 10
    return [template.format(WORDS[label]) for label in labels], labels


def domain_template(domain: str) -> str:
    """Return a prompt template for a domain, its first word, handwritten or printed."""
    style = "printed" if domain == "print" else "handwritten"
    return f"{with_article(DOMAINS[domain].words[0])} of a {style} {{}}"
