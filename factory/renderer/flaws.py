"""Detect unusable images: black, uniform or non-finite.

Diverging models and safety checkers return such images, which are useless for training. Only pixels
are examined, so every machine gives the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def flaws(images: Sequence[ImageArray | None]) -> list[str | None]:
    """Return the flaw of each image of a batch, as `flaw`.

    Those that are clearly usable are found together, which takes a tenth of the time.
    """
    if len({None if image is None else image.shape for image in images}) != 1 or images[0] is None:
        return [flaw(image) for image in images]
    some = np.stack([image[::_STEP, ::_STEP] for image in images if image is not None])
    usable = np.any(np.ptp(some, axis=(1, 2)) > _TOLERANCE, axis=-1).tolist()
    return [
        None if is_usable else flaw(image) for is_usable, image in zip(usable, images, strict=True)
    ]


def flaw(image: ImageArray | None) -> str | None:
    """Return the flaw of an image, or None if it is usable.

    Args:
        image: RGB, uint8, shape (height, width, 3); None if the model's output was not finite. An
            image is flat if every channel is constant, black if all channels are dark.
    """
    if image is None:
        return NOT_FINITE
    # Pixels that differ prove the image usable; most images have some among every eighth one.
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
