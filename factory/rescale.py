"""From what a model draws to what a set keeps: size and uint8.

The interpolations run on the model's device and in float32; only the finished, small pictures leave
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from factory.recipe import Output

# Names of ours that PyTorch knows under another name.
_TORCH_MODES = {"nearest": "nearest-exact"}


def rescale(images: Tensor, output: Output) -> list[npt.NDArray[np.uint8]]:
    """Resize a batch and round it to pictures.

    Args:
        images: In 0..1, float32, shape (batch, 3, height, width), any device.
        output: Size, interpolation and anti-aliasing.

    Returns:
        A picture an image: uint8, shape (height, width, 3).
    """
    size = output.shape
    if size is None or tuple(images.shape[-2:]) == size:
        return _to_uint8(images)
    if output.resample == "lanczos":
        return [_lanczos(picture, size) for picture in _to_uint8(images)]
    mode = _TORCH_MODES.get(output.resample, output.resample)
    # PyTorch anti-aliases the two it has filters for; the others would refuse the argument.
    filtered = output.resample in ("bilinear", "bicubic")
    antialias = {"antialias": output.antialias, "align_corners": False} if filtered else {}
    return _to_uint8(functional.interpolate(images, size=size, mode=mode, **antialias))


def _to_uint8(images: Tensor) -> list[npt.NDArray[np.uint8]]:
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return list(pixels.contiguous().cpu().numpy())


def _lanczos(picture: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    height, width = size
    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(resized)
