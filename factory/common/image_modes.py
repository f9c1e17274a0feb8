"""Convert an image to upright 8-bit RGB, with transparency on white."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

BACKGROUND = (255, 255, 255)
_ORIENTATION = 0x0112
_FULL_16 = 65_535


def as_seen(image: Image) -> Image:
    """Return an image as 8-bit RGB: rotated according to EXIF, on a white background.

    For an 8-bit image without rotation and transparency, this equals `Image.convert("RGB")`.

    Args:
        image: A loaded image in its stored mode.

    Raises:
        ValueError: Its value range is unknown.
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
        # The pixels are intact; damaged EXIF data is no reason to reject the image.
        return image
    return ImageOps.exif_transpose(image) if is_turned else image


def _eight_bits(image: Image) -> Image:
    """Scale 16-bit grey values to 8 bits, rounded to nearest; a 32-bit image may contain them."""
    import numpy as np
    from PIL import Image as Pillow

    values = np.asarray(image)
    if image.mode.startswith("F") or values.min() < 0 or values.max() > _FULL_16:
        raise ValueError(
            f"{image.mode} values range from {values.min():g} to {values.max():g}, so the value of "
            "white is unknown; save the image with 8 or 16 bits per channel"
        )
    return Pillow.fromarray(np.rint(values / (_FULL_16 / 255)).astype(np.uint8))
