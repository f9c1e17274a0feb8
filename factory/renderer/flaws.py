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


def flaw(image: ImageArray | None) -> str | None:
    """Return the flaw of an image, or None if it is usable.

    Args:
        image: RGB, uint8, shape (height, width, 3); None if the model's output was not finite. An
            image is flat if every channel is constant, black if all channels are dark.
    """
    if image is None:
        return NOT_FINITE
    low, high = image.min(axis=(0, 1)).astype(int), image.max(axis=(0, 1)).astype(int)
    if high.max() <= _TOLERANCE:
        return BLACK
    # A single pixel is always uniform.
    if image.shape[0] * image.shape[1] > 1 and np.all(high - low <= _TOLERANCE):
        return FLAT
    return None
