"""Train the autoencoder of the pipeline: diffusers' AutoencoderTiny, fitted to the linear latents.

The decoder is a plain regression from the fixed latents (slightly noised ones included) to images,
so it is independent of the denoiser. The encoder, which text-to-image does not use, is fitted to
the same latents, so that the pipeline is complete.

AutoencoderTiny squashes latents with tanh(x / 3) * 3: `scaling_factor` keeps them small.
"""

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from factory.common.whole_files import replace_file
from train.generator.config import Config, DecoderConfig
from train.generator.images.data import Collection, sampling_weights
from train.generator.network.latents import PatchBasis, to_pixels
from train.generator.training.start import START_DECODER, load_start_decoder

log = logging.getLogger(__name__)

SAVE_EVERY = 250


def build_autoencoder(config: Config) -> Any:
    """Build the AutoencoderTiny; its number of 2x reductions follows the patch size."""
    from diffusers import AutoencoderTiny

    widths, blocks = config.decoder.channels, config.decoder.blocks
    levels = len(widths)
    if 2 ** (levels - 1) != config.latents.patch_size:
        from factory.common.errors import UserError

        raise UserError(
            f"decoder.channels: {levels} values mean a patch size of {2 ** (levels - 1)}, but "
            f"latents.patch_size is {config.latents.patch_size}; give log2(patch_size) + 1 values"
        )
    return AutoencoderTiny(
        latent_channels=config.latents.channels,
        encoder_block_out_channels=widths,
        num_encoder_blocks=(1,) * levels,
        decoder_block_out_channels=widths,
        num_decoder_blocks=blocks,
        scaling_factor=config.decoder.scaling_factor,
        force_upcast=False,
    )


def decode(autoencoder: Any, latents: Tensor) -> Tensor:
    """Decode like the pipeline: unscaled latents to pixels in about [-1, 1]."""
    scaled = latents / autoencoder.config.scaling_factor
    pixels: Tensor = autoencoder.decode(scaled, return_dict=False)[0]
    return pixels


def image_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return L1 + 2 MSE + L1 of the gradients, which favours sharp edges."""
    down = functional.l1_loss(predicted.diff(dim=2), target.diff(dim=2))
    right = functional.l1_loss(predicted.diff(dim=3), target.diff(dim=3))
    absolute = functional.l1_loss(predicted, target)
    return absolute + 2 * functional.mse_loss(predicted, target) + down + right


def fit_decoder(
    config: Config,
    folder: Path,
    basis: PatchBasis,
    collection: Collection,
    *,
    mixed_precision: str = "no",
) -> None:
    """Train encoder and decoder; resumes from `decoder.pt`."""
    settings = config.decoder
    cumulative = np.cumsum(sampling_weights(config.data, collection.facts))
    torch.manual_seed(settings.seed)
    model = build_autoencoder(config).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, betas=(0.9, 0.99))
    path = folder / "decoder.pt"
    if (folder / START_DECODER).exists() and not path.exists():
        load_start_decoder(model, folder)
    elif config.fit.start_from and not path.exists():
        log.warning("%s: contains no %s; training the decoder from scratch", folder, START_DECODER)
    step, seconds = _resume(path, model, optimizer)
    started = time.monotonic() - seconds
    while step < settings.steps:
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * _cosine(step, settings.steps)
        rng = np.random.default_rng([settings.seed, step])
        places = np.searchsorted(cumulative, rng.random(settings.batch_size) * cumulative[-1])
        images = torch.from_numpy(collection.images[np.sort(places)])
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed_precision == "bf16"):
            loss = _step(model, basis, images, settings=settings, step=step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % SAVE_EVERY == 0 or step == settings.steps:
            log.info("decoder step %d loss %.4f", step, float(loss.detach()))
            _save(path, model, optimizer, step=step, seconds=time.monotonic() - started)


def _cosine(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / 50)
    return float(warm * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * step / steps))))


def _step(
    model: Any, basis: PatchBasis, images: Tensor, *, settings: DecoderConfig, step: int
) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        latents = basis.encode(images)
    target = to_pixels(images).contiguous(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(step)
    noise = torch.randn(latents.shape, generator=generator)
    amount = settings.noise * torch.rand((len(latents), 1, 1, 1), generator=generator)
    noisy = (latents + amount * noise).contiguous(memory_format=torch.channels_last)
    loss = image_loss(decode(model, noisy).float(), target)
    if step < settings.encoder_steps:
        guess = model.encode(target, return_dict=False)[0]
        loss = loss + functional.mse_loss(guess.float(), latents / settings.scaling_factor)
    return loss


def _resume(path: Path, model: Any, optimizer: Any) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), float(state["seconds"])


def _save(path: Path, model: Any, optimizer: Any, *, step: int, seconds: float) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "seconds": seconds,
    }
    replace_file(path, lambda temporary: torch.save(state, temporary))
