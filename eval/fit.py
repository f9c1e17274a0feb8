"""Images that are not square, for models that take square ones: cropped, padded or squashed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from factory.common.image_bytes import MAX_PIXELS

if TYPE_CHECKING:
    import torch

    from eval.scores_file import Preprocessing

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
    _, height, width = preprocessing.input_size
    own_fit = _OF_TIMM.get(preprocessing.crop_mode, "crop")
    fit = preprocessing.fit or own_fit
    side = math.ceil(max(height, width) / preprocessing.crop_pct)
    own = create_transform(**options, is_training=False)
    squashed = create_transform(**options | {"crop_mode": "squash"}, is_training=False)
    # The colour that the model gets as zeros.
    red, green, blue = (round(255 * value) for value in preprocessing.mean)

    def transform(image: Any) -> torch.Tensor:
        chosen = squashed
        if fit == own_fit and _timm_can(fit, image, side):
            chosen = own
        elif fit == "crop":
            image = crop(image, width / height)
        elif fit == "pad":
            image = pad(image, width / height, colour=(red, green, blue))
        found: torch.Tensor = chosen(image)
        return found

    return Transform(transform, side)


def _timm_can(fit: Fit, image: Any, side: int) -> bool:
    """Whether timm's own transform keeps a thin image of bounded size and a pixel wide."""
    short, long = sorted(image.size)
    if fit == "crop":
        return bool(side**2 * long <= MAX_PIXELS * short)
    return fit == "squash" or bool(side * short >= long)


def crop(image: Any, ratio: float) -> Any:
    """Return the largest part in the middle of an image that has a ratio of width to height."""
    width = min(image.width, round(image.height * ratio))
    height = min(image.height, round(image.width / ratio))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def pad(image: Any, ratio: float, *, colour: tuple[int, int, int]) -> Any:
    """Return an image with borders that give it a ratio of width to height.

    An image that would get more than `MAX_PIXELS` pixels is first resized to fit into them.
    """
    from PIL import Image

    width, height = _padded(image, ratio)
    if width * height > MAX_PIXELS:
        scale = math.sqrt(MAX_PIXELS / (width * height))
        image = image.resize([max(1, int(one * scale)) for one in image.size], reducing_gap=2)
        width, height = _padded(image, ratio)
    found = Image.new("RGB", (width, height), colour)
    found.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return found


def _padded(image: Any, ratio: float) -> tuple[int, int]:
    """Return the size of the smallest image of a ratio that an image fits into."""
    width = max(image.width, round(image.height * ratio))
    return width, max(image.height, round(image.width / ratio))
