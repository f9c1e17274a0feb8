"""Images that are not square, for models that take square ones: cropped, padded or squashed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

    from eval.scores import Preprocessing

Fit = Literal["crop", "pad", "squash"]
FITS: tuple[Fit, ...] = ("crop", "pad", "squash")
_OF_TIMM: dict[str, Fit] = {"center": "crop", "border": "pad", "squash": "squash"}


@dataclass(frozen=True)
class Transform:
    """Makes a model's input of an image.

    Attributes:
        apply: Of a PIL image to (3, height, width).
        side: Longest side in pixels that it resizes the image to, before it crops.
    """

    apply: Callable[[Any], torch.Tensor]
    side: int


def with_fit(preprocessing: Preprocessing, fit: Fit | None) -> Preprocessing:
    """Return the preprocessing with how images of another shape than the model's are fitted.

    Args:
        preprocessing: Of the model.
        fit: By default the middle is cropped, unless the model's weights were trained with borders.
    """
    usual: Fit = "pad" if preprocessing.crop_mode == "border" else "crop"
    return preprocessing.model_copy(update={"fit": fit or usual})


def make_transform(preprocessing: Preprocessing) -> Transform:
    """Return timm's own evaluation transform: PIL image to normalised (3, height, width).

    Images of another shape are first fitted to the model's, as `preprocessing.fit` says; images of
    the model's shape stay the same.
    """
    from timm.data.transforms_factory import create_transform

    options = preprocessing.model_dump(exclude={"fit"})
    fit, (_, height, width) = preprocessing.fit, preprocessing.input_size
    side = math.ceil(max(height, width) / preprocessing.crop_pct)
    if fit is None or fit == _OF_TIMM.get(preprocessing.crop_mode):
        return Transform(create_transform(**options, is_training=False), side)
    squashed = create_transform(**options | {"crop_mode": "squash"}, is_training=False)
    # The colour that the model gets as zeros.
    red, green, blue = (round(255 * value) for value in preprocessing.mean)

    def transform(image: Any) -> torch.Tensor:
        if fit == "crop":
            image = crop(image, width / height)
        elif fit == "pad":
            image = pad(image, width / height, colour=(red, green, blue))
        found: torch.Tensor = squashed(image)
        return found

    return Transform(transform, side)


def crop(image: Any, ratio: float) -> Any:
    """Return the largest part in the middle of an image that has a ratio of width to height."""
    width = min(image.width, round(image.height * ratio))
    height = min(image.height, round(image.width / ratio))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def pad(image: Any, ratio: float, *, colour: tuple[int, int, int]) -> Any:
    """Return an image with borders that give it a ratio of width to height."""
    from PIL import Image

    width = max(image.width, round(image.height * ratio))
    height = max(image.height, round(image.width / ratio))
    found = Image.new("RGB", (width, height), colour)
    found.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return found
