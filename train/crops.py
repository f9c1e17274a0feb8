"""Random crops of single images, at their own resolution."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from train.augment import CROP_POSITION, CROP_SIZES
from train.augmentation import Augmentation

Box = tuple[float, float, float, float]


def crops(augmentation: Augmentation) -> bool:
    """Return whether images are cropped at random."""
    return augmentation.crop_scale != (1, 1)


def crop_box(
    draws: NDArray[np.float32], augmentation: Augmentation, width: float, height: float
) -> Box:
    """Return a random crop of an image: left, top, right, bottom, as torchvision's crop samples it.

    The first of ten candidates that fits inside the image is used, else the largest that does.

    Args:
        draws: Those of the image, see `train.augment`.
        augmentation: Area and ratio of the crop.
        width: Of the image.
        height: Of the image.
    """
    area_draw, ratio_draw = np.split(draws[CROP_SIZES].astype(np.float64), 2)
    low, high = augmentation.crop_scale
    area = (low + (high - low) * area_draw) * width * height
    low, high = (math.log(ratio) for ratio in augmentation.crop_ratio)
    ratio = np.exp(low + (high - low) * ratio_draw)
    widths, heights = np.sqrt(area * ratio), np.sqrt(area / ratio)
    first = int(((widths <= width) & (heights <= height)).argmax())
    wide, high = min(float(widths[first]), width), min(float(heights[first]), height)
    left, top = (float(draw) for draw in draws[list(CROP_POSITION)])
    left, top = left * (width - wide), top * (height - high)
    return left, top, min(left + wide, width), min(top + high, height)
