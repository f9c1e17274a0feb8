"""Encode small images into the page, each below a fixed number of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval.report_page.dataset import shrunk

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 3000
"""Of one thumbnail before base64; it bounds the size of the page."""
SIDE = 96
_CELL, _COLUMNS, _SPRITE_ROWS = 40, 40, 400
# Tried in this order until the bytes suffice; the last one always does.
_TRIES = ((SIDE, 80), (SIDE, 50), (72, 50), (56, 35), (40, 20), (24, 10))


@dataclass(frozen=True)
class Thumbnail:
    """A small image as a data address, with its size in pixels."""

    src: str
    width: int
    height: int


@dataclass(frozen=True)
class Sprite:
    """Many small images in one; image `i` is in row `i // columns`."""

    src: str
    columns: int
    cell: int
    count: int


def thumbnail(image: Image) -> Thumbnail:
    """Return an image at most `SIDE` pixels wide and high; smaller images keep their size."""
    for side, quality in _TRIES:
        small = shrunk(image, side)
        data = _webp(small, quality)
        if len(data) <= MAX_BYTES:
            break
    return Thumbnail(_address(data), small.width, small.height)


def sprite(images: Sequence[Image]) -> Sprite:
    """Return images side by side, each in a square cell."""
    from PIL import Image as Pillow

    if len(images) > _COLUMNS * _SPRITE_ROWS:
        raise ValueError(f"{len(images)} images are too many for one sprite")
    columns = min(len(images), _COLUMNS) or 1
    rows = -(-len(images) // columns) or 1
    sheet = Pillow.new("RGB", (columns * _CELL, rows * _CELL))
    for place, image in enumerate(images):
        small = image.resize((_CELL, _CELL), Pillow.Resampling.BOX)
        sheet.paste(small, (place % columns * _CELL, place // columns * _CELL))
    return Sprite(_address(_webp(sheet, 60)), columns, _CELL, len(images))


def _webp(image: Any, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def _address(data: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"
