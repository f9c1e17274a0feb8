"""Fit images that are not square to square models: crop, pad or squash."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.common.image_bytes import MAX_PIXELS
from factory.data.pixels import Fit, border_colour, crop, pad

if TYPE_CHECKING:
    import torch

    from eval.scores_file import Preprocessing

_OF_TIMM: dict[str, Fit] = {"center": "crop", "border": "pad", "squash": "squash"}


@dataclass(frozen=True)
class Transform:
    """Converts an image to a model's input.

    Attributes:
        apply: Function from a PIL image to (3, height, width).
        side: Longest side in pixels after its resize, before the crop.
    """

    apply: Callable[[Any], torch.Tensor]
    side: int


def with_fit(preprocessing: Preprocessing, fit: Fit | None) -> Preprocessing:
    """Return the preprocessing with the fit for images of another shape than the model's.

    Args:
        preprocessing: Of the model.
        fit: By default as the model's config says that it was trained; else the middle is cropped,
            unless the model's weights were trained with borders.
    """
    usual: Fit = "pad" if preprocessing.crop_mode == "border" else "crop"
    return preprocessing.model_copy(update={"fit": fit or preprocessing.fit or usual})


def make_transform(preprocessing: Preprocessing) -> Transform:
    """Return timm's own evaluation transform: PIL image to normalised (3, height, width).

    Images of another shape are first fitted to the model's as in `preprocessing.fit`; images of the
    model's shape stay the same.
    """
    from timm.data.transforms_factory import create_transform

    options = preprocessing.model_dump(exclude={"fit"})
    _, height, width = preprocessing.input_size
    own_fit = _OF_TIMM.get(preprocessing.crop_mode, "crop")
    fit = preprocessing.fit or own_fit
    side = math.ceil(max(height, width) / preprocessing.crop_pct)
    own = create_transform(**options, is_training=False)
    squashed = create_transform(**options | {"crop_mode": "squash"}, is_training=False)

    def transform(image: Any) -> torch.Tensor:
        chosen = squashed
        if fit == own_fit and _timm_can(fit, image, side):
            chosen = own
        elif fit == "crop":
            image = crop(image, width / height)
        elif fit == "pad":
            image = pad(image, width / height, colour=border_colour(preprocessing.mean))
        found: torch.Tensor = chosen(image)
        return found

    return Transform(transform, side)


def _timm_can(fit: Fit, image: Any, side: int) -> bool:
    """Return whether timm's own transform keeps a thin image bounded and not empty."""
    short, long = sorted(image.size)
    if fit == "crop":
        return bool(side**2 * long <= MAX_PIXELS * short)
    return fit == "squash" or bool(side * short >= long)
