"""Fixed linear latents: principal components of image patches, half-whitened.

The denoiser can use them from its first step, without waiting for an autoencoder; `decoder` gives
better images from them. Component k is divided by the square root of its standard deviation, then
all by one number so that their mean variance is 1: fine detail is amplified, but not to the level
of the main content.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from factory.common.whole_files import replace_file
from train.generator.config import LatentConfig

_BATCH = 2_000
BASIS_FILE = "latents.safetensors"


def to_pixels(images: Tensor) -> Tensor:
    """Turn uint8 (N, H, W, 3) into float32 (N, 3, H, W) in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


@dataclass(frozen=True)
class PatchBasis:
    """A linear map between images and latents.

    Attributes:
        mean: The mean patch, (3 * patch^2).
        components: Orthonormal rows, (channels, 3 * patch^2).
        scale: Divisor of each component, (channels).
        patch_size: Side of a patch in pixels.
    """

    mean: Tensor
    components: Tensor
    scale: Tensor
    patch_size: int

    @classmethod
    def fit(cls, images: Tensor, config: LatentConfig) -> PatchBasis:
        """Fit to uint8 images (N, H, W, 3)."""
        patches = functional.unfold(to_pixels(images), config.patch_size, stride=config.patch_size)
        flat = patches.transpose(1, 2).reshape(-1, patches.shape[1]).double()
        mean = flat.mean(0)
        values, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
        values = values.flip(0)[: config.channels]
        components = vectors.flip(1)[:, : config.channels].T
        components = components * torch.where(components.sum(1) < 0, -1.0, 1.0)[:, None]
        scale = values.sqrt().sqrt()
        scale = scale * (values / scale**2).mean().sqrt()
        return cls(mean.float(), components.float(), scale.float(), config.patch_size)

    def encode(self, images: Tensor) -> Tensor:
        """Return latents (N, channels, H / patch, W / patch) of uint8 images."""
        pixels = to_pixels(images)
        patches = functional.unfold(pixels, self.patch_size, stride=self.patch_size)
        latents = self.components @ (patches - self.mean[:, None]) / self.scale[:, None]
        side = pixels.shape[-1] // self.patch_size
        return latents.reshape(*latents.shape[:2], -1, side)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (N, 3, H, W) in about [-1, 1]: the linear inverse."""
        flat = latents.flatten(2) * self.scale[:, None]
        patches = self.components.T @ flat + self.mean[:, None]
        size = (latents.shape[2] * self.patch_size, latents.shape[3] * self.patch_size)
        return functional.fold(patches, size, self.patch_size, stride=self.patch_size)

    def save(self, path: Path) -> None:
        """Write as safetensors."""
        from safetensors.torch import save_file

        tensors = {"mean": self.mean, "components": self.components, "scale": self.scale}
        patch = {"patch_size": torch.tensor(self.patch_size)}
        save_file({k: v.contiguous() for k, v in (tensors | patch).items()}, path)

    @classmethod
    def load(cls, path: Path) -> PatchBasis:
        """Read a file written by `save`."""
        from safetensors.torch import load_file

        tensors = load_file(path)
        patch_size = int(tensors["patch_size"])
        return cls(tensors["mean"], tensors["components"], tensors["scale"], patch_size)


def save_latents(basis: PatchBasis, images: NDArray[np.uint8], path: Path) -> None:
    """Encode images in batches into a float16 file that all processes map; written atomically."""
    side = images.shape[1] // basis.patch_size
    shape = (len(images), len(basis.scale), side, side)

    def write(file: Path) -> None:
        latents = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)
        for start in range(0, len(images), _BATCH):
            part = torch.from_numpy(np.array(images[start : start + _BATCH]))
            latents[start : start + _BATCH] = basis.encode(part).half().numpy()
        latents.flush()

    replace_file(path, write)
