"""The settings of augmentation: random changes of training images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]


class Frozen(BaseModel):
    """A value that cannot be changed, with no unknown fields and no infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Augmentation(Frozen):
    """Random changes of training images; by default none.

    Attributes:
        crop_scale: Area of the random crop as a fraction of the image, low and high. The crop is
            resized to the full image. (1, 1) is no crop.
        crop_ratio: Width to height of the crop, low and high; needs a crop.
        horizontal_flip: Probability of mirroring left and right. Wrong for digits and letters.
        vertical_flip: Probability of mirroring top and bottom.
        rotation: Largest rotation in degrees, either way.
        translate: Largest shift as a fraction of the image, either way and along both axes.
        zoom: Factor of size, low and high.
        shear: Largest horizontal shear in degrees, either way.
        fill: Pixels outside the image: black, its border pixels, or its reflection.
        brightness: Brightness factor, from 1 - brightness to 1 + brightness.
        contrast: The same for the distance from the image's mean grey.
        saturation: The same for the distance from each pixel's grey.
        greyscale: Probability of dropping colour.
        invert: Probability of inverting all colours (dark on light becomes light on dark).
        aa: timm's policy for each image, applied first, e.g. `rand-m9-mstd0.5-inc1`, or None.
        reprob: Probability of erasing rectangles of the normalised image, applied last.
        remode: Fill them with the mean (`const`), a random colour (`rand`) or noise (`pixel`).
        recount: Largest number of rectangles per image.
    """

    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_ratio: tuple[float, float] = (1.0, 1.0)
    horizontal_flip: Probability = 0.0
    vertical_flip: Probability = 0.0
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    translate: Annotated[float, Field(ge=0, lt=1)] = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    shear: Annotated[float, Field(ge=0, lt=60)] = 0.0
    fill: Literal["zeros", "border", "reflection"] = "border"
    brightness: Probability = 0.0
    contrast: Probability = 0.0
    saturation: Probability = 0.0
    greyscale: Probability = 0.0
    invert: Probability = 0.0
    aa: Annotated[str, Field(min_length=1)] | None = None
    reprob: Probability = 0.0
    remode: Literal["const", "rand", "pixel"] = "pixel"
    recount: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Augmentation:
        for name in ("crop_scale", "crop_ratio", "zoom"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be LOW,HIGH with 0 < LOW <= HIGH, not {low},{high}")
        if self.crop_scale[1] > 1:
            raise ValueError(
                f"crop_scale must end at 1 (the whole image) or below, not {self.crop_scale[1]}"
            )
        for name in ("remode", "recount"):
            if not self.reprob and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no effect without reprob; add it, or remove {name}")
        if self.crop_scale == (1, 1) and self.crop_ratio != (1, 1):
            low, high = self.crop_ratio
            raise ValueError(
                f"crop_scale 1,1 is no crop, so crop_ratio {low:.4g},{high:.4g} cannot apply; "
                "lower crop_scale, or set crop_ratio=1,1"
            )
        return self
