"""Domains: render a digit's mask as a small colour image of a certain style.

Each domain is one function `(glyph, rng) -> float32 (64, 64, 3) in [0, 1]`, listed in `DOMAINS`
with the words that captions use for it. `render` averages the canvas down to the image size.
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from train.generator.images.digits import CANVAS, Floats, Glyph

IMAGE_SIZE = 32
Paint = Callable[[Glyph, np.random.Generator], Floats]


def _blur(image: Floats, sigma: float) -> Floats:
    from scipy import ndimage

    sigmas = (sigma, sigma) + (0,) * (image.ndim - 2)
    blurred: Floats = ndimage.gaussian_filter(image, sigmas).astype(np.float32)
    return blurred


@lru_cache(maxsize=8)
def _linear_rows(points: int) -> Floats:
    knots = np.linspace(0, points - 1, CANVAS)
    columns = [np.interp(knots, np.arange(points), row) for row in np.eye(points)]
    return np.stack(columns, axis=1).astype(np.float32)


def _field(rng: np.random.Generator, points: int) -> Floats:
    """Return smooth noise over the canvas, standard normal at `points` x `points` knots."""
    rows = _linear_rows(points)
    knots = rng.standard_normal((points, points)).astype(np.float32)
    return (rows @ knots @ rows.T).astype(np.float32)


def _colour(
    rng: np.random.Generator,
    *,
    hue: tuple[float, float] = (0.0, 1.0),
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> Floats:
    hsv = (rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value))
    return np.array(colorsys.hsv_to_rgb(*hsv), np.float32)


def _over(ground: Floats, ink: Floats, cover: Floats) -> Floats:
    """Blend `ink` over `ground` with the coverage `cover`."""
    return ground + (ink - ground) * cover[..., None]


def _flat(colour: Floats) -> Floats:
    return np.broadcast_to(colour, (CANVAS, CANVAS, 3)).copy()


def _gradient(rng: np.random.Generator, strength: float) -> Floats:
    """Return light that falls off across the canvas: 1 on average, (64, 64, 1)."""
    direction = rng.uniform(0, 2 * np.pi)
    ramp = np.linspace(-1, 1, CANVAS, dtype=np.float32)
    slope = np.float32(np.cos(direction)) * ramp[:, None]
    slope = slope + np.float32(np.sin(direction)) * ramp[None]
    return (1 + strength * rng.uniform(0.2, 1.0) * slope)[..., None].astype(np.float32)


def _paper(rng: np.random.Generator, *, grain: float = 0.02) -> Floats:
    """Return white, cream or greyish paper with grain, (64, 64, 3)."""
    colour = _colour(rng, hue=(0.05, 0.16), saturation=(0.0, 0.16), value=(0.84, 1.0))
    return _flat(colour) + grain * rng.standard_normal((CANVAS, CANVAS, 1), np.float32)


def _dark_ink(rng: np.random.Generator) -> Floats:
    if rng.random() < 0.6:
        return _colour(rng, saturation=(0.0, 0.15), value=(0.02, 0.22))
    return _colour(rng, hue=(0.58, 0.68), saturation=(0.6, 1.0), value=(0.25, 0.6))


def _photo(glyph: Glyph, rng: np.random.Generator) -> Floats:
    pixels = _over(_paper(rng), _dark_ink(rng), 0.95 * glyph.coverage(soft=1.5))
    pixels = pixels * _gradient(rng, 0.22) * np.float32(rng.uniform(0.72, 1.0))
    return _blur(pixels, rng.uniform(0.3, 1.5))


def _scan(glyph: Glyph, rng: np.random.Generator) -> Floats:
    cover = _blur(glyph.coverage(soft=2.5), rng.uniform(0.4, 2.6))
    cover = cover * np.float32(rng.uniform(0.85, 1.0) / max(float(cover.max()), 0.5))
    noise = np.float32(rng.uniform(0, 0.03)) * rng.standard_normal((CANVAS, CANVAS), np.float32)
    return np.repeat((cover + noise)[..., None], 3, axis=2)


def _chalk(glyph: Glyph, rng: np.random.Generator) -> Floats:
    if rng.random() < 0.6:
        board = _colour(rng, hue=(0.36, 0.48), saturation=(0.3, 0.6), value=(0.16, 0.32))
    else:
        board = _colour(rng, saturation=(0.0, 0.12), value=(0.10, 0.22))
    smear = np.clip(0.05 + 0.05 * _field(rng, 6), 0, 0.3)
    ground = _over(_flat(board), np.array([0.9, 0.9, 0.88], np.float32), smear)
    tint = (0.0, 0.08) if rng.random() < 0.75 else (0.25, 0.45)
    chalk = _colour(rng, saturation=tint, value=(0.88, 1.0))
    rough = np.clip(0.84 + 0.30 * rng.standard_normal((CANVAS, CANVAS), np.float32), 0.15, 1)
    dust = 0.10 * _blur(glyph.coverage(grow=1.5), 3.0)
    return _over(ground, chalk, np.clip(glyph.coverage(grow=0.3, soft=2.0) * rough + dust, 0, 1))


def _neon(glyph: Glyph, rng: np.random.Generator) -> Floats:
    night = _flat(_colour(rng, saturation=(0.2, 0.8), value=(0.02, 0.12)))
    colour = _colour(rng, saturation=(0.8, 1.0), value=(0.95, 1.0))
    tube = np.clip(1 - np.abs(glyph.distance + rng.uniform(-0.5, 0.8)) / 2.2, 0, 1)
    if rng.random() < 0.6:
        tube = glyph.coverage(soft=2.0)
    glow = _blur(tube, rng.uniform(3.0, 5.0)) * np.float32(rng.uniform(0.7, 1.1))
    core = _blur(tube, 1.0) ** 2 * np.float32(rng.uniform(0.2, 0.75))
    lit = night + colour * np.clip(glow + tube, 0, 1)[..., None]
    return _over(lit, np.array([1, 1, 1], np.float32), np.clip(core, 0, 1))


def _stencil(glyph: Glyph, rng: np.random.Generator) -> Floats:
    wall = _colour(rng, hue=(0.05, 0.14), saturation=(0.1, 0.5), value=(0.5, 0.8))
    ground = _flat(wall) * (1 + 0.05 * _field(rng, 16))[..., None]
    spray = glyph.coverage(grow=1.2, soft=1.0)
    for _ in range(2):
        place = round(CANVAS / 2 + rng.normal(0, 9))
        bridge = slice(place, place + 3)
        if rng.random() < 0.5:
            spray[bridge] *= 0.15
        else:
            spray[:, bridge] *= 0.15
    overspray = 0.12 * _blur(glyph.coverage(grow=2), 4)
    ink = _colour(rng, saturation=(0.0, 0.7), value=(0.03, 0.25))
    return _over(ground, ink, np.clip(0.92 * spray + overspray, 0, 1))


def _pencil(glyph: Glyph, rng: np.random.Generator) -> Floats:
    angle = rng.uniform(0.4, 1.1)
    ramp = np.arange(CANVAS, dtype=np.float32)
    phase = ramp[:, None] * np.float32(np.cos(angle)) + ramp[None] * np.float32(np.sin(angle))
    hatch = 0.62 + 0.38 * np.sin(phase * np.float32(rng.uniform(0.9, 1.5)) + _field(rng, 8))
    outline = np.clip(1 - np.abs(glyph.distance - 0.4) / 1.6, 0, 1)
    cover = np.clip(0.68 * glyph.coverage(soft=2.0) * hatch + 0.5 * outline, 0, 0.9)
    graphite = _colour(rng, hue=(0.55, 0.7), saturation=(0.0, 0.08), value=(0.2, 0.42))
    return _over(_paper(rng, grain=0.04), graphite, cover)


def _watercolour(glyph: Glyph, rng: np.random.Generator) -> Floats:
    wash = _colour(rng, saturation=(0.1, 0.4), value=(0.88, 1.0))
    ground = _over(_paper(rng), wash, np.clip(0.5 + 0.5 * _field(rng, 4), 0, 1))
    hue = rng.uniform()
    first = _colour(rng, hue=(hue, hue), saturation=(0.6, 1.0), value=(0.35, 0.75))
    second = _colour(rng, hue=(hue, hue + 0.15), saturation=(0.5, 0.9), value=(0.45, 0.8))
    paint = _over(_flat(first), second, np.clip(0.5 + 0.7 * _field(rng, 4), 0, 1))
    edge = 0.15 * np.clip(1 - np.abs(glyph.distance) / 1.5, 0, 1)
    body = _blur(glyph.coverage(grow=0.6, soft=2.0), 0.9)
    pools = np.clip(0.82 + 0.14 * _field(rng, 7), 0.4, 1)
    return _over(ground, paint, np.clip(body * pools + edge, 0, 1))


def _marker(glyph: Glyph, rng: np.random.Generator) -> Floats:
    colour = _colour(rng, saturation=(0.75, 1.0), value=(0.45, 0.9))
    streak = np.clip(0.9 + 0.08 * _field(rng, 12), 0.6, 1)
    ground = _flat(_colour(rng, saturation=(0.0, 0.03), value=(0.95, 1.0)))
    return _over(ground, colour, glyph.coverage(grow=1.3, soft=1.0) * streak)


def _ink(glyph: Glyph, rng: np.random.Generator) -> Floats:
    sepia = _colour(rng, hue=(0.08, 0.13), saturation=(0.12, 0.32), value=(0.82, 0.96))
    ground = _flat(sepia) * (1 + 0.02 * _field(rng, 10))[..., None]
    ink = _colour(rng, hue=(0.02, 0.1), saturation=(0.0, 0.5), value=(0.02, 0.16))
    return _over(ground, ink, _blur(glyph.coverage(grow=rng.uniform(-0.3, 0.8)), 0.5))


def _crayon(glyph: Glyph, rng: np.random.Generator) -> Floats:
    colour = _colour(rng, saturation=(0.6, 0.95), value=(0.6, 0.95))
    wax = np.clip(0.75 + 0.45 * rng.standard_normal((CANVAS, CANVAS), np.float32), 0.05, 1)
    wax = _blur(wax.astype(np.float32), 0.6)
    return _over(_paper(rng, grain=0.03), colour, glyph.coverage(grow=1.0, soft=3.0) * wax)


def _poster(glyph: Glyph, rng: np.random.Generator) -> Floats:
    dark = _colour(rng, saturation=(0.6, 1.0), value=(0.1, 0.45))
    light = _colour(rng, saturation=(0.2, 0.7), value=(0.92, 1.0))
    ground, ink = (dark, light) if rng.random() < 0.5 else (light, dark)
    return _over(_flat(ground), ink, glyph.coverage(grow=0.8))


def _print(glyph: Glyph, rng: np.random.Generator) -> Floats:
    ground = _flat(_colour(rng, saturation=(0.0, 0.02), value=(0.93, 1.0)))
    ink = _colour(rng, saturation=(0.0, 0.05), value=(0.0, 0.12))
    return _over(ground, ink, glyph.coverage())


def _cartoon(glyph: Glyph, rng: np.random.Generator) -> Floats:
    ground = _flat(_colour(rng, saturation=(0.25, 0.6), value=(0.85, 1.0)))
    fill = _colour(rng, saturation=(0.75, 1.0), value=(0.9, 1.0))
    outlined = _over(ground, np.array([0.04, 0.04, 0.06], np.float32), glyph.coverage(grow=3.0))
    return _over(outlined, fill, glyph.coverage(grow=0.2))


@dataclass(frozen=True)
class Domain:
    """A style of images.

    Attributes:
        paint: Renders it.
        words: Its names in captions, after an article.
        generic: Share of captions that omit the domain.
        weight: Relative sampling weight.
        printed: Share of printed digits.
        place: A phrase that may follow the digit, e.g. "on a blackboard", or "".
    """

    paint: Paint
    words: tuple[str, ...]
    generic: float = 0.33
    weight: float = 1.0
    printed: float = 0.1
    place: str = ""


DOMAINS: dict[str, Domain] = {
    "photo": Domain(
        _photo, ("photo", "photo", "photograph"), generic=0.75, weight=3.6, place="on paper"
    ),
    "scan": Domain(_scan, ("scan",), generic=0.75, weight=3.6),
    "chalk": Domain(_chalk, ("chalk drawing",), place="in chalk on a blackboard"),
    "neon": Domain(_neon, ("neon sign",), printed=0.3, place="in neon"),
    "stencil": Domain(_stencil, ("stencil",), printed=0.5),
    "pencil": Domain(_pencil, ("pencil sketch", "sketch", "pencil drawing"), place="in pencil"),
    "watercolour": Domain(_watercolour, ("watercolour", "watercolor", "painting", "painting")),
    "marker": Domain(_marker, ("marker drawing", "drawing"), place="in marker"),
    "ink": Domain(_ink, ("ink drawing", "drawing"), place="in ink"),
    "crayon": Domain(_crayon, ("crayon drawing",), place="in crayon"),
    "poster": Domain(_poster, ("poster",), printed=0.4),
    "print": Domain(_print, ("print",), printed=1.0, place="in print"),
    "cartoon": Domain(_cartoon, ("cartoon",), printed=0.3),
}


def render(
    glyph: Glyph, domain: str, rng: np.random.Generator, *, size: int = IMAGE_SIZE
) -> NDArray[np.uint8]:
    """Render a glyph in a domain: uint8 (size, size, 3), RGB; `size` divides 64."""
    canvas = np.clip(DOMAINS[domain].paint(glyph, rng), 0, 1)
    step = CANVAS // size
    blocks = canvas.reshape(size, step, size, step, 3)
    pixels: NDArray[np.uint8] = np.round(blocks.mean(axis=(1, 3)) * 255).astype(np.uint8)
    return pixels
