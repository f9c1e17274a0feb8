"""One image as people see it: upright, RGB, 8 bits, on white where it is transparent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

BACKGROUND = (255, 255, 255)
_ORIENTATION = 0x0112
_FULL_16 = 65_535


def as_seen(image: Image) -> Image:
    """Return an image as RGB with 8 bits: turned as its EXIF data says, on a white background.

    An 8-bit image that is neither turned nor transparent is what `Image.convert("RGB")` gives.

    Args:
        image: Loaded, in the mode it is stored in.

    Raises:
        ValueError: Its values have no known range.
    """
    from PIL import Image as Pillow

    image = _upright(image)
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    seen = Pillow.new("RGBA", image.size, (*BACKGROUND, 255))
    seen.alpha_composite(image.convert("RGBA"))
    return seen.convert("RGB")


def _upright(image: Image) -> Image:
    from PIL import ImageOps

    try:
        is_turned = image.getexif().get(_ORIENTATION, 1) != 1
    except Exception:  # noqa: BLE001 (Pillow raises anything for damaged EXIF data)
        # The pixels are whole: a camera's damaged notes are no reason to lose them.
        return image
    return ImageOps.exif_transpose(image) if is_turned else image


def _eight_bits(image: Image) -> Image:
    """Scale grey values of 16 bits, rounded to the nearest; a 32-bit image may hold these."""
    import numpy as np
    from PIL import Image as Pillow

    values = np.asarray(image)
    if image.mode.startswith("F") or values.min() < 0 or values.max() > _FULL_16:
        raise ValueError(
            f"values of {image.mode} reach from {values.min():g} to {values.max():g}, which has no "
            "known white; save it with 8 or 16 bits"
        )
    return Pillow.fromarray(np.rint(values / (_FULL_16 / 255)).astype(np.uint8))
