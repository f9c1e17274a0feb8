"""Contact sheets: images in a grid."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from train.generator.network.denoiser import Denoiser, noise_schedule
from train.generator.network.latents import PatchBasis


def save_grid(images: NDArray[np.uint8], path: Path, *, columns: int, zoom: int = 2) -> None:
    """Write images (N, H, W, 3) row by row as one PNG or JPEG."""
    from PIL import Image

    starts = range(0, len(images) - columns + 1, columns)
    rows = [np.concatenate(list(images[i : i + columns]), axis=1) for i in starts]
    sheet = Image.fromarray(np.concatenate(rows))
    size = (sheet.width * zoom, sheet.height * zoom)
    sheet.resize(size, Image.Resampling.NEAREST).save(path, quality=90)


@torch.no_grad()
def sample(
    model: Denoiser, tokens: Any, empty: Any, *, guidance_scale: float, steps: int, seed: int
) -> torch.Tensor:
    """Sample latents for token ids (N, length) with DDIM, for sheets during training.

    This needs neither an exported pipeline nor a decoder.
    """
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_config(noise_schedule().config)
    scheduler.set_timesteps(steps)
    both_tokens = torch.cat([empty.expand_as(tokens), tokens])
    device = next(model.parameters()).device
    states = model.text_encoder(both_tokens.to(device)).last_hidden_state
    config = model.unet.config
    shape = (len(tokens), config.in_channels, config.sample_size, config.sample_size)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
    for t in scheduler.timesteps:
        both = torch.cat([latents, latents]).contiguous(memory_format=torch.channels_last)
        free, conditioned = model.unet(both, t, states, return_dict=False)[0].chunk(2)
        velocity = free + guidance_scale * (conditioned - free)
        latents = scheduler.step(velocity, t, latents, return_dict=False)[0]
    return latents.cpu()


def linear_images(basis: PatchBasis, latents: torch.Tensor) -> NDArray[np.uint8]:
    """Convert latents to uint8 images (N, H, W, 3) with the linear inverse."""
    pixels = basis.decode(latents.contiguous()).clamp(-1, 1).permute(0, 2, 3, 1)
    decoded: NDArray[np.uint8] = ((pixels + 1) * 127.5).round().byte().numpy()
    return decoded
