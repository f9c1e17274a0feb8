"""Decoded images: upright, scaled to 8 bits, transparency on white."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from factory.common.image_modes import as_seen

RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def stored(image: Image.Image, kind: str, **options: Any) -> Image.Image:
    """Return an image as it is read from a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    found = Image.open(io.BytesIO(buffer.getvalue()))
    found.load()
    return found


def halves(mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, (8, 4), RED)
    image.paste(BLUE, (4, 0, 8, 4))
    return image


# Where the red half is, by the tag: it is on the left of the stored pixels.
@pytest.mark.parametrize(
    ("orientation", "size", "red", "blue"),
    [
        (1, (8, 4), (1, 1), (6, 1)),
        (2, (8, 4), (6, 1), (1, 1)),
        (3, (8, 4), (6, 1), (1, 1)),
        (6, (4, 8), (1, 1), (1, 6)),
        (8, (4, 8), (1, 6), (1, 1)),
    ],
)
@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP"])
def test_images_are_turned_upright(
    kind: str,
    orientation: int,
    size: tuple[int, int],
    red: tuple[int, int],
    blue: tuple[int, int],
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    seen = as_seen(stored(halves(), kind, exif=exif, **options))
    assert (seen.mode, seen.size) == ("RGB", size)
    assert (seen.getpixel(red), seen.getpixel(blue)) == (RED, BLUE)


def test_sixteen_bits_are_scaled() -> None:
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    expected = np.rint(values / 257).astype(np.uint8)
    for kind in ("PNG", "TIFF"):
        seen = np.asarray(as_seen(stored(Image.fromarray(values), kind)))
        assert seen.shape == (64, 64, 3)
        assert (seen == expected[..., None]).all()


def test_values_without_a_known_white_are_refused() -> None:
    with pytest.raises(
        ValueError, match="so the value of white is unknown; save the image with 8 or 16 bits"
    ):
        as_seen(Image.fromarray(np.full((4, 4), 0.5, np.float32)))
    with pytest.raises(ValueError, match="range from 0 to 100000"):
        as_seen(Image.fromarray(np.int32([[0, 100_000]])))


def test_transparent_pixels_are_white() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    hidden = Image.fromarray(np.dstack([noise, np.zeros((8, 8), np.uint8)]))
    for kind in ("PNG", "WEBP"):
        assert (np.asarray(as_seen(stored(hidden, kind, **_lossless(kind)))) == 255).all()
    shape = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    shape.paste((255, 0, 0, 255), (2, 2, 6, 6))
    seen = as_seen(stored(shape, "PNG"))
    assert (seen.getpixel((0, 0)), seen.getpixel((3, 3))) == (WHITE, RED)
    half = as_seen(stored(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG"))
    assert half.getpixel((0, 0)) == (127, 127, 127)


def _lossless(kind: str) -> dict[str, Any]:
    return {"lossless": True, "exact": True} if kind == "WEBP" else {}


def test_palettes_and_keys_of_transparency() -> None:
    palette = Image.new("P", (4, 4))
    palette.putpalette([0, 0, 0, 0, 0, 255] + [0] * 762)
    palette.putpixel((1, 1), 1)
    seen = as_seen(stored(palette, "PNG", transparency=0))
    assert (seen.getpixel((0, 0)), seen.getpixel((1, 1))) == (WHITE, BLUE)
    keyed = stored(Image.new("RGB", (2, 2), BLACK), "PNG", transparency=BLACK)
    assert as_seen(keyed).getpixel((0, 0)) == WHITE
    grey = stored(Image.new("LA", (2, 2), (0, 0)), "PNG")
    assert as_seen(grey).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"])
def test_plain_images_equal_pillows_conversion(mode: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(noise).convert(mode)
    assert as_seen(image).tobytes() == image.convert("RGB").tobytes()


def test_damaged_exif_data_are_overlooked() -> None:
    image = stored(halves(), "PNG")
    image.info["exif"] = b"Exif\x00\x00MM\x00*garbage"
    assert as_seen(image).tobytes() == halves().tobytes()
