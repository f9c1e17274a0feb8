"""The settings of a training: what presets, options and `config.yaml` consist of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from factory.data.pixels import Fit

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Probability = Annotated[float, Field(ge=0, le=1)]
Rgb = tuple[float, float, float]


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
        if self.crop_scale == (1, 1) and self.crop_ratio != (1, 1):
            low, high = self.crop_ratio
            raise ValueError(
                f"crop_scale 1,1 is no crop, so crop_ratio {low:.4g},{high:.4g} cannot apply; "
                "lower crop_scale, or set crop_ratio=1,1"
            )
        return self


class Hyperparameters(Frozen):
    """Training settings; a preset is one set of values.

    Attributes:
        epochs: Passes over the training part.
        batch_size: Images per step over all processes.
        accumulate: Number of parts in which a process computes its share of a batch. Their
            gradients are added up, which saves memory; batch norm sees one part at a time.
        lr: Peak learning rate of AdamW.
        weight_decay: Decoupled weight decay of AdamW.
        decay_all: Decay biases and norms as well (plain AdamW), or weight matrices only.
        schedule: `cosine` anneals to zero after the warm-up, `constant` stays.
        schedule_every: The learning rate changes after every `step`, or after every `epoch` only.
        warmup_epochs: Epochs of linear warm-up; may be a fraction with `schedule_every=step`.
        label_smoothing: Label smoothing: probability mass taken from the true class.
        clip_grad_norm: Maximum gradient norm, or None.
        image_size: Height and width in pixels; None: the size of the dataset's first image.
        val_fraction: Fraction of each class held out to select the best epoch.
            0 holds out nothing and keeps the last epoch.
        val_images: Hold out this many images at random over all classes instead, as in the paper's
            released code (unseeded there; here it depends on the run's seed).
        stem: First layer of a model that is not pretrained: timm's own, for ImageNet's 224 px
            images, or one that keeps the positions of `small` images (`train.stems`).
        keep_every: Interval of epochs whose weights are saved, or None for the best only.
        test_crop: Fraction of each side that the central crop keeps when scoring.
        fit: Treatment of images that are not square: their centre is cropped, they get borders
            in the colour of the mean, or they are squashed, as all were in runs that do not say.
        resample: Filter that resizes images.
        mean: Subtracted from RGB in 0 to 1; None is ImageNet's, or a pretrained model's own.
        std: Divides after that; None as for `mean`.
        initialisation: Initial weights of a model that is not pretrained: `timm`'s own, or
            `torchvision`'s for MobileNetV3.
        augmentation: Random changes of training images.
    """

    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)]
    accumulate: Annotated[int, Field(ge=1)] = 1
    lr: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    decay_all: bool = False
    schedule: Literal["cosine", "constant"] = "cosine"
    schedule_every: Literal["step", "epoch"] = "step"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip_grad_norm: Annotated[float, Field(gt=0)] | None = None
    image_size: Annotated[int, Field(ge=4, le=4096)] | None = None
    val_fraction: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    val_images: Annotated[int, Field(ge=1)] | None = None
    keep_every: Annotated[int, Field(ge=1)] | None = None
    test_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    fit: Fit = "crop"
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    mean: Rgb | None = None
    std: Rgb | None = None
    initialisation: Literal["timm", "torchvision"] = "timm"
    stem: Literal["imagenet", "small"] = "imagenet"
    augmentation: Augmentation = Augmentation()
