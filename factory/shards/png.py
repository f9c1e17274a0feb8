"""Encode small images as PNG without the overhead of `Image.save`.

`save` examines options for as long as an image of 32 pixels takes to compress. Pillow's encoder and
the bytes are the same.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

COMPRESS_LEVEL = 6
_MOST_BYTES = 60_000
"""Most bytes of rows whose compressed data always fit into one chunk of `save`, 64 KiB."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Eight bits per channel, RGB; the only methods of compression, filters and interlacing.
_FORMAT = (8, 2, 0, 0, 0)


def is_small(image: Image.Image) -> bool:
    """Return whether `small_png` can encode an image."""
    # Each row begins with a byte that names its filter.
    return image.mode == "RGB" and 0 < image.height * (3 * image.width + 1) < _MOST_BYTES


def small_png(image: Image.Image) -> bytes:
    """Return the bytes that `image.save(file, "png", compress_level=COMPRESS_LEVEL)` writes."""
    # As `save`: no optimization, the default strategy, no dictionary.
    data = image.tobytes("zip", ("RGB", False, COMPRESS_LEVEL, -1, b""))
    header = struct.pack(">2I5B", image.width, image.height, *_FORMAT)
    chunks = {b"IHDR": header, b"IDAT": data, b"IEND": b""}
    return _SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks.items())


def _chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(content, zlib.crc32(name))
    return b"".join((struct.pack(">I", len(content)), name, content, struct.pack(">I", check)))
