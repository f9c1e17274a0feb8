"""Encode small images as PNG, and check such files, without the overhead of Pillow's objects.

`save` examines options for as long as an image of 32 pixels takes to compress. Pillow's encoder and
the bytes are the same. `Image.open` takes longer than decompressing such an image.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

COMPRESS_LEVEL = 6
# Pillow's default, or run lengths only: filtered rows of photographs hardly have repeated strings,
# which take most of the time to find.
_STRATEGIES = {None: -1, "fast": zlib.Z_RLE}
_MOST_BYTES = 60_000
"""Most bytes of rows whose compressed data always fit into one chunk of `save`, 64 KiB."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Eight bits per channel, RGB; the only methods of compression, filters and interlacing.
_FORMAT = (8, 2, 0, 0, 0)
_HEADER = slice(16, 24)
_DATA = slice(41, -16)
"""Places of the size and of the compressed rows in a file of three chunks."""
_FILTERS = 5


def png_options(compression: str | None) -> dict[str, int]:
    """Return the options of Pillow's `save` for a value of `output.compression`."""
    return {"compress_level": COMPRESS_LEVEL, "compress_type": _STRATEGIES[compression]}


def is_small(image: Image.Image) -> bool:
    """Return whether `small_png` can encode an image."""
    # Each row begins with a byte that names its filter.
    return image.mode == "RGB" and 0 < image.height * (3 * image.width + 1) < _MOST_BYTES


def small_png(image: Image.Image, compression: str | None = None) -> bytes:
    """Return the bytes that `image.save(file, "png", **png_options(compression))` writes."""
    # As `save`: no optimization, no dictionary.
    data = image.tobytes("zip", ("RGB", False, COMPRESS_LEVEL, _STRATEGIES[compression], b""))
    return _file(image.width, image.height, data)


def small_png_size(data: bytes) -> tuple[int, int] | None:
    """Return the width and height of a complete file as `small_png` writes it.

    Returns:
        None for all other bytes, valid images or not, which Pillow must judge.
    """
    if len(data) < _LEAST_BYTES:
        return None
    width, height = struct.unpack(">2I", data[_HEADER])
    row = 3 * width + 1
    if not (width > 0 and 0 < row * height < _MOST_BYTES):
        return None
    packed = data[_DATA]
    if data != _file(width, height, packed):
        return None
    stream = zlib.decompressobj()
    try:
        # A larger limit than needed, so that the checksum at the end is read too.
        rows = stream.decompress(packed, row * height + 1)
    except zlib.error:
        return None
    whole = stream.eof and not stream.unused_data and len(rows) == row * height
    return (width, height) if whole and max(rows[::row]) < _FILTERS else None


def _file(width: int, height: int, data: bytes) -> bytes:
    return b"".join((_start(width, height), _chunk(b"IDAT", data), _END))


@lru_cache(maxsize=64)
def _start(width: int, height: int) -> bytes:
    """Return what precedes the rows, the same for all images of a size."""
    return _SIGNATURE + _chunk(b"IHDR", struct.pack(">2I5B", width, height, *_FORMAT))


def _chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(content, zlib.crc32(name))
    return b"".join((struct.pack(">I", len(content)), name, content, struct.pack(">I", check)))


_END = _chunk(b"IEND", b"")
_LEAST_BYTES = len(_file(0, 0, b""))
