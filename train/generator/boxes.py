"""Cuts what a box shows out of a picture, a little differently each time.

Cut to its head, a cat is a much narrower kind of picture than a cat anywhere in a room, and is
learnt from a fraction of the samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from factory.errors import UserError

# How far a cut differs from its box: parts of the box's side.
SHIFT = 0.04
STRETCH = 0.06


def check_box(box: object, *, where: str) -> None:
    """Refuse what is no box.

    Raises:
        UserError: It is not left, top, right, bottom, or holds nothing.
    """
    numbers = list(box) if isinstance(box, Sequence) and not isinstance(box, str) else []
    if len(numbers) == 4 and all(isinstance(one, int | float) for one in numbers):
        left, top, right, bottom = numbers
        if left < right and top < bottom and all(map(math.isfinite, numbers)):
            return
    raise UserError(f"{where}: {box!r} is no box; give left, top, right, bottom in pixels, or null")


def cut_out(
    picture: NDArray[np.uint8], box: Sequence[float], *, size: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Cut a box out of a picture, shifted and stretched a little.

    Args:
        picture: uint8 (height, width, 3).
        box: Left, top, right, bottom in pixels. It is made square about its middle; what lies
            beyond the picture's edges is filled with its mirror image.
        size: Side of the result in pixels.
        rng: Of shift and stretch.

    Returns:
        uint8 (size, size, 3).
    """
    from PIL import Image

    left, top, right, bottom = box
    side = max(right - left, bottom - top) * rng.uniform(1 - STRETCH, 1 + STRETCH)
    x, y = np.array([left + right, top + bottom]) / 2 + side * rng.uniform(-SHIFT, SHIFT, 2)
    height, width = picture.shape[:2]
    half = side / 2
    beyond = max(0.0, half - x, half - y, x + half - width, y + half - height)
    margin = int(np.ceil(beyond))
    # "symmetric" may be asked for more than the picture's own size.
    padded = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    corners = (x - half + margin, y - half + margin, x + half + margin, y + half + margin)
    cut = Image.fromarray(padded).resize((size, size), Image.Resampling.LANCZOS, box=corners)
    return np.asarray(cut, np.uint8)
