"""Filters that turn a photograph into an image of another domain, for captions to name.

Each is a function `(photo, rng) -> image`, both float32 (H, W, 3) in [0, 1]. They are simple, which
is enough at 64 pixels: "a sketch of a cat" looks like a sketch and still shows a cat.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# numpy's types for mixed operands are too loose to keep float32.
Floats = NDArray[Any]
Filter = Callable[[Floats, np.random.Generator], Floats]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def _blur(image: Floats, sigma: float) -> Floats:
    from scipy import ndimage

    sigmas = (sigma, sigma) + (0,) * (image.ndim - 2)
    blurred: Floats = ndimage.gaussian_filter(image, sigmas)
    return blurred


def _grey(image: Floats) -> Floats:
    grey: Floats = image @ _LUMA
    return grey


def _saturate(image: Floats, amount: float) -> Floats:
    grey = _grey(image)[..., None]
    return grey + (image - grey) * np.float32(amount)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], *, sigma: float) -> Floats:
    """Return smooth noise of unit variance."""
    noise = rng.standard_normal(shape, np.float32)
    if sigma:
        noise = _blur(noise, sigma)
    scaled: Floats = noise / (noise.std() + 1e-6)
    return scaled


def _tint(rng: np.random.Generator, low: tuple[float, ...], high: tuple[float, ...]) -> Floats:
    return rng.uniform(low, high).astype(np.float32)


def _smooth(image: Floats, *, size: int = 3, rounds: int = 2) -> Floats:
    """Flatten regions and keep edges: a median filter, a few times."""
    from scipy import ndimage

    for _ in range(rounds):
        image = ndimage.median_filter(image, size=(size, size, 1))
    return image


def _paper(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    colour = _tint(rng, (0.92, 0.91, 0.86), (1.0, 1.0, 0.97))
    paper: Floats = colour + np.float32(0.015) * _noise(rng, (*shape, 1), sigma=0.0)
    return paper


def _tones(image: Floats, *, sigma: float) -> Floats:
    """Return lightness, (H, W) in [0, 1], stretched to the image's range."""
    grey = _blur(_grey(image), sigma)
    low, high = np.quantile(grey, (0.03, 0.97))
    tones: Floats = np.clip((grey - low) / max(high - low, 0.15), 0, 1)
    return tones


def _vignette(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Return the painted part of an image, (H, W): complete in the middle, ragged at the border."""
    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    far = (np.abs(rows)[:, None] ** 4 + np.abs(columns)[None] ** 4) ** 0.25
    edge = np.float32(rng.uniform(1.0, 1.2)) + np.float32(0.08) * _noise(rng, shape, sigma=3.0)
    painted: Floats = np.clip((edge - far) / 0.2, 0, 1)
    return painted


def _strokes(image: Floats, *, sigma: float) -> Floats:
    """Return dark lines and spots, (H, W) in [0, 1]: darker than their surroundings.

    A difference of Gaussians, so that eyes, nostrils and wheels stay spots and an edge becomes one
    line on its dark side, where a gradient would ring each of them.
    """
    grey = _grey(image)
    darker = _blur(grey, 2.2 * sigma) - _blur(grey, sigma)
    strokes: Floats = np.clip(darker / max(np.quantile(darker, 0.97), 0.04), 0, 1)
    return strokes


def _drawing(image: Floats, rng: np.random.Generator) -> Floats:
    """Coloured pencil: pale flat colour on paper, dark outlines."""
    paper = _paper(rng, image.shape[:2])
    wash = np.float32(rng.uniform(0.35, 0.6))
    colour = paper * (1 - wash) + _saturate(_smooth(image), 1.5) * wash + np.float32(0.08)
    lines = np.float32(rng.uniform(0.4, 0.6)) * _strokes(image, sigma=1.2)[..., None]
    return colour * (1 - lines)


def _sketch(image: Floats, rng: np.random.Generator) -> Floats:
    """Soft pencil: light areas stay paper, others are shaded equally dark, with strokes.

    Mostly shading: strokes alone are fine detail, which a generator with 8x8 latents learns last.
    """
    shade = np.float32(rng.uniform(0.7, 0.9)) * (1 - _tones(image, sigma=0.7)) ** 1.5
    lines = np.float32(rng.uniform(0.3, 0.5)) * _strokes(image, sigma=1.2)
    grain = 1 + np.float32(0.06) * _noise(rng, shade.shape, sigma=0.5)
    cover = (1 - (1 - shade * grain) * (1 - lines)) * _vignette(rng, shade.shape)
    return _paper(rng, image.shape[:2]) * (1 - np.float32(0.95) * cover[..., None])


def _painting(image: Floats, rng: np.random.Generator) -> Floats:
    """Oils: patches of strong colour, brush streaks along one direction."""
    from scipy import ndimage

    patches = _saturate(_smooth(image, size=int(rng.integers(3, 6))), rng.uniform(1.4, 2.0))
    streaks = ndimage.gaussian_filter(
        rng.standard_normal(image.shape[:2]).astype(np.float32), (0.5, 2.5)
    )
    if rng.random() < 0.5:
        streaks = streaks.T
    light = 1 + np.float32(rng.uniform(0.06, 0.14)) * streaks / (streaks.std() + 1e-6)
    warm = _tint(rng, (1.0, 0.94, 0.84), (1.08, 1.0, 0.96))
    result: Floats = np.clip(patches, 0, 1) * light[..., None] * warm
    return result


def _cartoon(image: Floats, rng: np.random.Generator) -> Floats:
    """A few bright flat colours with black outlines."""
    flat: Floats = 1.1 * _saturate(_smooth(image, size=3, rounds=3), rng.uniform(1.6, 2.2))
    levels = int(rng.integers(4, 7))
    flat = np.round(np.clip(flat, 0, 1) * levels) / levels
    lines = (_strokes(image, sigma=1.2) > 0.6).astype(np.float32)
    return flat * (1 - np.float32(0.7) * _blur(lines, 0.5)[..., None])


def _poster(image: Floats, rng: np.random.Generator) -> Floats:
    """Screen print: three to five tones from dark to light, each one colour."""
    import colorsys

    count = int(rng.integers(3, 6))
    tones = np.minimum((_tones(image, sigma=0.8) * count).astype(np.int64), count - 1)
    hue, step = rng.uniform(), rng.uniform(-0.12, 0.25)
    palette = [
        colorsys.hsv_to_rgb(
            (hue + step * k) % 1.0,
            rng.uniform(0.55, 0.95) - 0.5 * k / count,
            0.15 + 0.85 * k / count,
        )
        for k in range(1, count + 1)
    ]
    result: Floats = np.array(palette, np.float32)[tones]
    return result


def _digital(image: Floats, rng: np.random.Generator) -> Floats:
    """Digital art: smooth, glowing, light from teal to magenta."""
    smooth = _saturate(_smooth(image), rng.uniform(1.5, 2.0))
    first, second = (
        _tint(rng, (0.1, 0.5, 0.8), (0.4, 0.9, 1.0)),
        _tint(rng, (0.8, 0.1, 0.5), (1.0, 0.5, 0.9)),
    )
    ramp = np.linspace(0, 1, image.shape[0], dtype=np.float32)[:, None, None]
    light = first * (1 - ramp) + second * ramp
    amount = np.float32(rng.uniform(0.25, 0.45))
    lit = smooth * (1 - amount) + light * _grey(smooth)[..., None] * amount * np.float32(1.6)
    return lit + np.float32(0.5) * _blur(np.clip(lit - 0.6, 0, 1), 2.0)


def _collage(image: Floats, rng: np.random.Generator) -> Floats:
    """Cut paper: the image with two or three of its parts pasted over it, rotated."""
    from scipy import ndimage

    side = image.shape[0]
    result = _saturate(image, 1.2).copy()
    for _ in range(int(rng.integers(2, 4))):
        height, width = (int(v) for v in rng.integers(side // 4, side // 2, 2))
        top, left = int(rng.integers(0, side - height)), int(rng.integers(0, side - width))
        to_top = int(np.clip(top + rng.integers(-side // 6, side // 6), 1, side - height - 1))
        to_left = int(np.clip(left + rng.integers(-side // 6, side // 6), 1, side - width - 1))
        cut = image[top : top + height, left : left + width]
        if rng.random() < 0.5:
            cut = np.clip(cut * _tint(rng, (0.7, 0.7, 0.7), (1.3, 1.3, 1.3)), 0, 1)
        turned = ndimage.rotate(cut, rng.uniform(-6, 6), reshape=False, order=1, mode="nearest")
        result[to_top - 1 : to_top + height + 1, to_left - 1 : to_left + width + 1] = 0.97
        result[to_top : to_top + height, to_left : to_left + width] = turned
    return result


def _rock(image: Floats, rng: np.random.Generator) -> Floats:
    """A cave wall with the subject's outline and shade in ochre."""
    shape = image.shape[:2]
    stone = _tint(rng, (0.62, 0.48, 0.34), (0.82, 0.68, 0.52))
    wall = stone * (1 + 0.10 * _noise(rng, (*shape, 1), sigma=5.0))
    wall = wall * (1 + 0.06 * _noise(rng, (*shape, 1), sigma=0.7))
    pigment = _tint(rng, (0.25, 0.08, 0.03), (0.45, 0.2, 0.12))
    dark = np.float32(0.8) * (1 - _tones(image, sigma=0.8)) ** 1.3
    cover = np.clip(dark + 0.4 * _strokes(image, sigma=1.2), 0, 0.95)
    cover = (cover * _vignette(rng, shape))[..., None]
    return wall * (1 - cover) + pigment * cover


def _stick(image: Floats, rng: np.random.Generator) -> Floats:
    """A few dark lines on white."""
    strokes = _strokes(image, sigma=rng.uniform(1.0, 1.4)) * _vignette(rng, image.shape[:2])
    lines = np.clip(3 * strokes - 0.9, 0, 1)[..., None]
    ink = _tint(rng, (0.0, 0.0, 0.0), (0.2, 0.2, 0.3))
    return np.float32(0.98) * (1 - lines) + ink * lines


def _render(image: Floats, rng: np.random.Generator) -> Floats:
    """A 3D rendering: smooth surfaces, soft light from above, plain colours, a highlight."""
    smooth = _smooth(_blur(image, 0.5), size=3, rounds=3)
    smooth = _saturate(smooth, rng.uniform(1.1, 1.5))
    ramp = np.linspace(1.18, 0.82, image.shape[0], dtype=np.float32)[:, None, None]
    relief = _blur(_grey(image), 1.0)
    shine = np.clip(4 * (relief - np.roll(relief, (1, 1), (0, 1))), 0, 0.5)[..., None]
    grey = np.float32(0.12) * _tint(rng, (0.8, 0.8, 0.9), (1.0, 1.0, 1.0))
    lit: Floats = smooth * ramp * np.float32(0.88) + grey + shine
    return lit


def _hazy(image: Floats, rng: np.random.Generator) -> Floats:
    """Satellite at ten metres per pixel: softer, darker, flatter, bluer than an aerial photo."""
    soft = _blur(image, rng.uniform(0.6, 1.8))
    flat = np.float32(rng.uniform(0.35, 0.75)) * (soft - np.float32(0.35))
    haze = _tint(rng, (0.22, 0.27, 0.30), (0.36, 0.40, 0.44))
    return _saturate(flat, rng.uniform(0.8, 1.5)) + haze


@dataclass(frozen=True)
class FilteredDomain:
    """A filter and the words that captions use for its images, after an article."""

    filter: Filter
    words: tuple[str, ...]


FILTERS: dict[str, FilteredDomain] = {
    "drawing": FilteredDomain(_drawing, ("drawing", "drawing", "coloured drawing")),
    "sketch": FilteredDomain(_sketch, ("sketch", "sketch", "pencil sketch")),
    "painting": FilteredDomain(_painting, ("painting", "painting", "oil painting")),
    "cartoon": FilteredDomain(_cartoon, ("cartoon",)),
    "poster": FilteredDomain(_poster, ("poster",)),
    "digital art": FilteredDomain(_digital, ("digital art image", "digital art")),
    "collage": FilteredDomain(_collage, ("collage",)),
    "rock drawing": FilteredDomain(_rock, ("rock drawing", "rock drawing", "cave painting")),
    "stick figure": FilteredDomain(_stick, ("stick figure", "stick figure", "line drawing")),
    "3d rendering": FilteredDomain(_render, ("3D rendering", "3D rendering", "3D render")),
    "satellite": FilteredDomain(_hazy, ("satellite photo", "satellite image")),
}


def apply_filter(
    name: str, result: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Filter an image, uint8 (H, W, 3) RGB, by the name of its domain."""
    changed = FILTERS[name].filter(result.astype(np.float32) / 255, rng)
    filtered: NDArray[np.uint8] = np.round(np.clip(changed, 0, 1) * 255).astype(np.uint8)
    return filtered
