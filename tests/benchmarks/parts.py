"""Recipes, images and a renderer for benchmarks without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from build_parts import recipe as write_recipe

from factory.common.image_arrays import ImageArray
from factory.planner.plan import ImageSpec
from factory.recipe.resolved import ResolvedRecipe

CLASSES = ["cat", "dog", "ship", "car", "bird", "deer", "frog", "horse", "truck", "plane"]
SIDE = 32
DOMAINS = ["photo", "drawing", "painting", "sketch"]
_READY = 64


def recipe(folder: Path, images: int, **keys: Any) -> ResolvedRecipe:
    """Write and load a recipe of ten classes with two variables, 32 x 32 pixels.

    Args:
        folder: Folder of the file.
        images: Number of images, a multiple of ten.
        keys: Other values of the recipe.
    """
    text: dict[str, Any] = {
        "classes": CLASSES,
        "images_per_class": images // len(CLASSES),
        "prompt": "a {domain} of a {class}, brightness {light}",
        "variables": {"domain": DOMAINS, "light": {"uniform": [0, 1]}},
        "output": {"size": SIDE},
    }
    folder.mkdir(parents=True, exist_ok=True)
    return write_recipe(folder, "base", **(text | keys))


def ready_images(side: int = SIDE, count: int = _READY) -> list[ImageArray]:
    """Return images of coarse shapes with some noise, uint8, shape (side, side, 3)."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 224, (count, side // 4, side // 4, 3), dtype=np.uint8)
    enlarged = coarse.repeat(4, axis=1).repeat(4, axis=2)
    return list(enlarged + random.integers(0, 32, enlarged.shape, dtype=np.uint8))


class ReadyRenderer:
    """Returns ready images: everything that a build does besides generation is left."""

    uses_torch = False

    def __init__(self, recipe: ResolvedRecipe) -> None:
        self._images = ready_images((recipe.output.size or (SIDE, SIDE))[0])

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[ImageArray]:
        return [self._images[row.index % len(self._images)] for row in rows]
