"""Resize generated images and round them to uint8.

All interpolations run in float32 and round once, at the end. They run on the model's device, except
lanczos, which PyTorch lacks: Pillow resizes on the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from factory.recipe.resolved import Output

# Names that differ in PyTorch.
_TORCH_MODES = {"nearest": "nearest-exact"}


def rescale(images: Tensor, output: Output) -> list[npt.NDArray[np.uint8]]:
    """Resize a batch and round it to uint8.

    Args:
        images: Images in 0..1, float32, shape (batch, 3, height, width), any device.
        output: Size, interpolation and anti-aliasing.

    Returns:
        The images: uint8, shape (height, width, 3) each.
    """
    size = output.size
    if size is None or tuple(images.shape[-2:]) == size:
        return _to_uint8(images)
    if output.resample == "lanczos":
        return _lanczos(images, size) if output.lanczos_version else _rounded_first(images, size)
    mode = _TORCH_MODES.get(output.resample, output.resample)
    # `nearest` and `area` do not accept the argument.
    has_choice = output.resample in ("bilinear", "bicubic")
    antialias = {"antialias": output.antialias, "align_corners": False} if has_choice else {}
    return _to_uint8(functional.interpolate(images, size=size, mode=mode, **antialias))


def _to_uint8(images: Tensor) -> list[npt.NDArray[np.uint8]]:
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return list(pixels.contiguous().cpu().numpy())


def _lanczos(images: Tensor, size: tuple[int, int]) -> list[npt.NDArray[np.uint8]]:
    planes = images.flatten(0, 1).cpu().numpy()
    resized = np.stack([_resized(Image.fromarray(plane), size) for plane in planes])
    return _to_uint8(torch.from_numpy(resized.reshape(*images.shape[:2], *size)))


def _rounded_first(images: Tensor, size: tuple[int, int]) -> list[npt.NDArray[np.uint8]]:
    """Round, then resize, as in older versions, to regenerate images of their datasets."""
    return [_resized(Image.fromarray(pixels), size) for pixels in _to_uint8(images)]


def _resized(image: Image.Image, size: tuple[int, int]) -> npt.NDArray[Any]:
    height, width = size
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
