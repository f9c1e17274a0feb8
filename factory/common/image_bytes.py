"""Decode images from bytes: a few formats, of bounded size, as RGB."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

from factory.common.image_modes import as_seen

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
HEIC = "HEIF"
"""Pillow's name of a format that is read if the package `pillow-heif` is installed."""
INSTALL_HEIC = 'pip install "data-factory[heic]"'
MAX_PIXELS = 8192 * 8192
"""About 200 MB as RGB; several images are decoded at the same time."""
MAX_ASPECT = 100
"""A thin strip of few pixels would become large when padded or resized by its short side."""
LARGE_PIXELS = 1 << 22
"""JPEGs of more pixels may be decoded at a fraction of their size, see `decode`."""
_OVERSIZE = 3
_PPM_BYTES = 4096
# The kind, and two or three numbers; comments may stand between them.
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PPM_HEADER = re.compile(rb"P(?:[14](?:%b\d+){2}|[2356](?:%b\d+){3})\s" % (_GAP, _GAP))
_HEIC = re.compile(rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)


class ImageFault(ValueError):
    """Reason why an image cannot be read."""


def reads_heic() -> bool:
    """Return whether HEIC is read: photos of phones, for which Pillow needs another package."""
    return find_spec("pillow_heif") is not None


def load_image(data: bytes) -> Image:
    """Decode an image in its stored mode.

    Raises:
        ImageFault: It is too large, of another format, or damaged.
    """
    return _load(data, side=None)[0]


def decode(data: bytes, *, side: int | None = None) -> tuple[Image, int]:
    """Decode an image as RGB, as `factory.common.image_modes` describes it.

    A JPEG of more than `LARGE_PIXELS` pixels is decoded at 1/2, 1/4 or 1/8 of its size, as long as
    both sides keep three times `side`.

    Args:
        data: The encoded image.
        side: Longest side in pixels that the image is going to be resized to; None: it is decoded
            whole.

    Returns:
        The image, and the number of its pixels as stored.

    Raises:
        ImageFault: It is too large, of another format, or damaged.
    """
    image, num_pixels = _load(data, side=side)
    return _as_seen(image), num_pixels


def opened_image(image: Image) -> Image:
    """Convert an image opened by Pillow to RGB, with the limits of `decode`.

    Raises:
        ImageFault: It is too large, or damaged.
    """
    _check_size(image)
    with _reporting_damage():
        image.load()
    return _as_seen(image)


def header(data: bytes) -> tuple[str, int, int]:
    """Return an encoded image's format by Pillow's name, and its stored width and height.

    Nothing is decoded.

    Raises:
        ImageFault: It is too large, of another format, or damaged.
    """
    pillow = _pillow()
    try:
        with _reporting_damage():
            image: Image = pillow.open(io.BytesIO(data), formats=_formats(data))
            _check_size(image)
            return str(image.format), image.width, image.height
    except pillow.UnidentifiedImageError:
        raise ImageFault(_other_format(data)) from None


def _load(data: bytes, *, side: int | None) -> tuple[Image, int]:
    """Decode an image as `decode` does; also return its number of pixels as stored."""
    pillow = _pillow()
    try:
        with _reporting_damage():
            image: Image = pillow.open(io.BytesIO(data), formats=_formats(data))
            num_pixels = _check_size(image)
            if side is not None and num_pixels > LARGE_PIXELS:
                # No effect for formats other than JPEG.
                image.draft(None, (_OVERSIZE * side, _OVERSIZE * side))
            image.load()
            return image, num_pixels
    except pillow.UnidentifiedImageError:
        raise ImageFault(_other_format(data)) from None


def _formats(data: bytes) -> tuple[str, ...]:
    """Return the formats that may be tried.

    Raises:
        ImageFault: A comment of a PPM image is too long.
    """
    if re.match(rb"P[1-6]", data) and not _PPM_HEADER.match(data[:_PPM_BYTES]):
        # Pillow reads comments byte by byte: one of 20 MB takes 10 seconds.
        raise ImageFault(
            f"the image cannot be decoded: its PPM header is damaged or longer than {_PPM_BYTES:,} "
            "bytes; convert it, or leave it out"
        )
    if not _HEIC.match(data) or not reads_heic():
        return FORMATS
    import pillow_heif

    pillow_heif.register_heif_opener()
    return (HEIC,)


def _check_size(image: Image) -> int:
    """Return an image's number of pixels; reject sizes above the limit."""
    width, height = image.size
    size = f"{width:,} x {height:,} pixels"
    if width * height > MAX_PIXELS:
        raise _too_large(f"of {size} ")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageFault(
            f"the image of {size} is more than {MAX_ASPECT} times as long as wide; cut it into "
            "parts, or leave it out"
        )
    if not width * height:
        raise ImageFault(f"the image of {size} is empty; leave it out")
    return width * height


@contextmanager
def _reporting_damage() -> Iterator[None]:
    pillow = _pillow()
    try:
        yield
    except (ImageFault, pillow.UnidentifiedImageError):
        raise
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        raise _too_large("") from None
    except Exception as error:  # noqa: BLE001 (Pillow raises anything for damaged bytes)
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise ImageFault(f"the image cannot be decoded ({reason[:200]})") from None


def _other_format(data: bytes) -> str:
    if _HEIC.match(data) and reads_heic():
        return "the image cannot be decoded (damaged HEIC)"
    if _HEIC.match(data):
        return (
            f"the image cannot be decoded: it is HEIC; install its decoder ({INSTALL_HEIC}), "
            "convert it to JPEG or PNG, or leave it out"
        )
    known = ", ".join(FORMATS)
    return f"the image cannot be decoded: it is not {known}; convert it, or leave it out"


def _as_seen(image: Image) -> Image:
    try:
        return as_seen(image)
    except (ValueError, OSError) as error:
        raise ImageFault(f"the image cannot be converted to RGB ({error})") from None


def _too_large(size: str) -> ImageFault:
    return ImageFault(
        f"the image {size}is larger than {MAX_PIXELS:,} pixels; shrink it, or leave it out"
    )


@cache
def _pillow() -> ModuleType:
    from PIL import Image

    # The limit above is lower than Pillow's warning limit.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    return Image
