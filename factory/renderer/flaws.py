"""Detect unusable images: black, uniform or non-finite.

Diverging models and safety checkers return such images, which are useless for training. Only pixels
are examined, so every machine gives the same answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from factory.common.image_arrays import ImageArray

NOT_FINITE = "the model produced NaN or infinite values"
BLACK = "black"
FLAT = "flat"
# Of 255: what rounding and JPEG-like noise may leave in a uniform image.
_TOLERANCE = 2
_STEP = 8


def flaw(image: ImageArray | None) -> str | None:
    """Return the flaw of an image, or None if it is usable.

    Args:
        image: RGB, uint8, shape (height, width, 3); None if the model's output was not finite. An
            image is flat if every channel is constant, black if all channels are dark.
    """
    if image is None:
        return NOT_FINITE
    # Pixels that differ prove the image usable. For most images two of them do, which takes a tenth
    # of the time, and for nearly all others every eighth one.
    middle = image[image.shape[0] // 2, image.shape[1] // 2].tolist()
    for one, other in zip(image[0, 0].tolist(), middle, strict=True):
        if abs(one - other) > _TOLERANCE:
            return None
    if np.any(_ranges(image[::_STEP, ::_STEP]) > _TOLERANCE):
        return None
    if image.max() <= _TOLERANCE:
        return BLACK
    # A single pixel is always uniform.
    if image.shape[0] * image.shape[1] > 1 and np.all(_ranges(image) <= _TOLERANCE):
        return FLAT
    return None


def _ranges(image: ImageArray) -> ImageArray:
    """Return the highest minus the lowest value of each channel, uint8, shape (3,)."""
    ranges: ImageArray = np.ptp(image.reshape(-1, image.shape[-1]), axis=0)
    return ranges
