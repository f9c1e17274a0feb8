"""What makes a drawn picture unusable: black, flat, or no numbers at all.

A model that diverges, or a safety checker, answers with such pictures; they teach a classifier
nothing. They are told by their pixels alone, so every machine judges the same picture alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from factory.common.pictures import Picture

NOT_FINITE = "the model drew values that are not numbers"
BLACK = "black"
FLAT = "flat"
# Of 255: what rounding and JPEG-like noise may leave in a picture of one colour.
_TOLERANCE = 2


def flaw(picture: Picture | None) -> str | None:
    """Return what is wrong with a picture, or None for a usable one.

    Args:
        picture: RGB, uint8, shape (height, width, 3); None where the model gave no numbers. A
            picture is flat where every channel is the same all over, black where all are dark.
    """
    if picture is None:
        return NOT_FINITE
    low, high = picture.min(axis=(0, 1)).astype(int), picture.max(axis=(0, 1)).astype(int)
    if high.max() <= _TOLERANCE:
        return BLACK
    # A single pixel has nothing to differ from.
    if picture.shape[0] * picture.shape[1] > 1 and np.all(high - low <= _TOLERANCE):
        return FLAT
    return None
