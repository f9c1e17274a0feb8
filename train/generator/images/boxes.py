"""Cut a box out of an image, with small random variations.

An image of a cat's head varies much less than an image of a cat anywhere in a room, so it is
learned from far fewer samples.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import UserError

# Variation of a cut, as parts of the box's side.
SHIFT = 0.04
STRETCH = 0.06
# In pixels; boxes given as fractions (0 to 1) are smaller and rejected.
SMALLEST = 2
LARGEST = 4


def check_box(box: object, size: tuple[int, int] | None = None, *, where: str) -> None:
    """Reject invalid boxes.

    Args:
        box: Value of the box column.
        size: Width and height of the image, or None to check only the box itself.
        where: Dataset, column and row, for the message.

    Raises:
        UserError: It is not left, top, right, bottom in pixels, is smaller than `SMALLEST` or
            larger than `LARGEST` times the image, or its centre is outside.
    """
    found = _fault_of(box, size)
    if found:
        raise UserError(
            f"{where}: {box!r} {found}; expected left, top, right, bottom in pixels, or null for "
            "none"
        )


def _fault_of(box: object, size: tuple[int, int] | None) -> str | None:
    numbers = list(box) if isinstance(box, list | tuple) else []
    if len(numbers) != 4 or not all(_is_number(one) for one in numbers):
        return "is not a box"
    left, top, right, bottom = map(float, numbers)
    if min(right - left, bottom - top) < SMALLEST:
        return f"is smaller than {SMALLEST} pixels"
    if size is None:
        return None
    width, height = size
    if max(right - left, bottom - top) > LARGEST * max(size):
        return f"is more than {LARGEST} times as large as the image ({width} x {height})"
    if not (0 <= left + right <= 2 * width and 0 <= top + bottom <= 2 * height):
        return f"has its centre outside the image ({width} x {height})"
    return None


def _is_number(one: object) -> bool:
    return isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < 1e9


def cut_out(
    image: NDArray[np.uint8], box: Sequence[float], *, size: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Cut a valid box out of an image, slightly shifted and stretched.

    Args:
        image: uint8 (height, width, 3).
        box: Left, top, right, bottom in pixels. It is made square around its centre; areas
            beyond the image's edges are filled with its mirror image.
        size: Side of the result in pixels.
        rng: Random numbers for shift and stretch.

    Returns:
        uint8 (size, size, 3).
    """
    from PIL import Image

    left, top, right, bottom = box
    side = max(right - left, bottom - top) * rng.uniform(1 - STRETCH, 1 + STRETCH)
    x, y = np.array([left + right, top + bottom]) / 2 + side * rng.uniform(-SHIFT, SHIFT, 2)
    height, width = image.shape[:2]
    half = side / 2
    beyond = max(0.0, half - x, half - y, x + half - width, y + half - height)
    margin = int(np.ceil(beyond))
    # "symmetric" padding may exceed the image's own size.
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    corners = (x - half + margin, y - half + margin, x + half + margin, y + half + margin)
    cut = Image.fromarray(padded).resize((size, size), Image.Resampling.LANCZOS, box=corners)
    return np.asarray(cut, np.uint8)
