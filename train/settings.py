"""The settings of a training: what presets, options and `config.yaml` consist of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from factory.data.pixels import Fit
from train.augmentation import Augmentation, Frozen, Probability

__all__ = ["Augmentation", "Frozen", "Hyperparameters", "Rgb", "flag"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Beta = Annotated[float, Field(ge=0, lt=1)]
Rgb = tuple[float, float, float]


class Hyperparameters(Frozen):
    """Training settings; a preset is one set of values. None: the library's default, or none.

    Fields that are not listed are described by their options (`factory.common.preset_options`).

    Attributes:
        accumulate: Number of parts in which a process computes its share of a batch. Their
            gradients are added up, which saves memory; batch norm sees one part at a time.
        decay_all: Decay biases and norms as well, or weight matrices only.
        schedule: `cosine` anneals to `min_lr` after the warm-up, `constant` stays; the others are
            timm's.
        schedule_every: The learning rate changes after every `step`, or after every `epoch` only.
        warmup_epochs: Epochs of linear warm-up; may be a fraction with `schedule_every=step`.
        image_size: Height and width in pixels; None: the size of the dataset's first image.
        val_fraction: Fraction of each class held out to select the best epoch.
            0 holds out nothing and keeps the last epoch.
        val_images: Hold out this many images at random over all classes instead, as in the paper's
            released code (unseeded there; here it depends on the run's seed).
        stem: First layer of a model that is not pretrained: timm's own, for ImageNet's 224 px
            images, or one that keeps the positions of `small` images (`train.stems`).
        balance_classes: An epoch has equally many images of every class that has any, as many in
            all as without it; of a large class it samples, those of a small one are repeated.
        split_bn: Batch norm has statistics of their own for generated images; those of real images
            (`--real-train`) are saved.
        keep_every: Interval of epochs whose weights are saved, or None for the best only.
        test_crop: Fraction of each side that the central crop keeps when scoring.
        fit: Treatment of images that are not square: their centre is cropped, they get borders
            in the colour of the mean, or they are squashed, as all were in runs that do not say.
        mean: Subtracted from RGB in 0 to 1; None is ImageNet's, or a pretrained model's own.
        std: Divides after that; None as for `mean`.
        initialisation: Initial weights of a model that is not pretrained: `timm`'s own, or
            `torchvision`'s for MobileNetV3.
    """

    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)]
    accumulate: Annotated[int, Field(ge=1)] = 1
    opt: str = "adamw"
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    opt_betas: tuple[Beta, ...] | None = None
    opt_eps: Annotated[float, Field(gt=0)] | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    lr: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    decay_all: bool = False
    schedule: Literal["cosine", "constant", "tanh", "step", "multistep", "poly"] = "cosine"
    min_lr: Annotated[float, Field(ge=0)] = 0.0
    decay_epochs: Annotated[float, Field(gt=0)] = 90.0
    decay_milestones: tuple[Annotated[int, Field(ge=1)], ...] = (90, 180, 270)
    decay_rate: Annotated[float, Field(gt=0)] = 0.1
    schedule_every: Literal["step", "epoch"] = "step"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bce_loss: bool = False
    bce_target_thresh: Probability | None = None
    bce_sum: bool = False
    focal_gamma: Annotated[float, Field(ge=0)] | None = None
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    mixup_prob: Probability = 1.0
    mixup_switch_prob: Probability = 0.5
    mixup_mode: Literal["batch", "elem"] = "batch"
    mixup_off_epoch: Annotated[int, Field(ge=0)] = 0
    distill_weight: Probability = 0.5
    distill_temperature: Annotated[float, Field(gt=0)] = 1.0
    model_ema: bool = False
    model_ema_decay: Annotated[float, Field(gt=0, lt=1)] = 0.9998
    model_ema_warmup: bool = False
    clip_grad_norm: Annotated[float, Field(gt=0)] | None = None
    image_size: Annotated[int, Field(ge=4, le=4096)] | None = None
    val_fraction: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    val_images: Annotated[int, Field(ge=1)] | None = None
    balance_classes: bool = False
    split_bn: bool = False
    keep_every: Annotated[int, Field(ge=1)] | None = None
    test_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    fit: Fit = "crop"
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    mean: Rgb | None = None
    std: Rgb | None = None
    initialisation: Literal["timm", "torchvision"] = "timm"
    stem: Literal["imagenet", "small"] = "imagenet"
    augmentation: Augmentation = Augmentation()

    @model_validator(mode="after")
    def _options_have_what_they_need(self) -> Hyperparameters:
        faults = [
            f"{flag(name)} needs {' or '.join(map(flag, needed))}; add it, or remove {flag(name)}"
            for name, needed in _NEEDS.items()
            if self._is_on(name) and not any(self._is_on(one) for one in needed)
        ]
        if self.bce_loss and self.focal_gamma is not None:
            faults.append("--bce-loss and --focal-gamma are two losses; give one of them")
        if self.split_bn and (self.accumulate > 1 or self.mixup or self.cutmix):
            faults.append(
                "--split-bn excludes --accumulate, --mixup and --cutmix, which take batches apart "
                "or mix real with generated images; give one of them"
            )
        if self.min_lr >= self.lr:
            faults.append(f"--min-lr {self.min_lr:g} must be below --lr {self.lr:g}")
        for name, schedules in _OF_SCHEDULES.items():
            if self._is_on(name) and self.schedule not in schedules:
                faults.append(
                    f"{flag(name)} is not used by --schedule {self.schedule}, only by "
                    f"{', '.join(schedules)}; remove it"
                )
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _is_on(self, name: str) -> bool:
        """Return whether a field has another value than its default."""
        return bool(getattr(self, name) != type(self).model_fields[name].default)


# Fields that have no effect without one of others.
_NEEDS: dict[str, tuple[str, ...]] = {
    "bce_target_thresh": ("bce_loss",),
    "bce_sum": ("bce_loss",),
    "mixup_prob": ("mixup", "cutmix"),
    "mixup_mode": ("mixup", "cutmix"),
    "mixup_off_epoch": ("mixup", "cutmix"),
    "mixup_switch_prob": ("mixup",),
    "model_ema_decay": ("model_ema",),
    "model_ema_warmup": ("model_ema",),
}
_OF_SCHEDULES: dict[str, tuple[str, ...]] = {
    "min_lr": ("cosine", "tanh", "poly"),
    "decay_epochs": ("step",),
    "decay_milestones": ("multistep",),
    "decay_rate": ("step", "multistep", "poly"),
}


def flag(name: str) -> str:
    """Return the option of a field."""
    return f"--{'total-batch-size' if name == 'batch_size' else name.replace('_', '-')}"
