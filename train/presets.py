"""Named sets of hyperparameters.

`paper` and `paper-eurosat` say what section 4.1 of "Diversity is Definitely Needed" says, with the
augmentation of its released code, since the text names none. `code` takes that code's own
defaults, `corrected` mends what the two leave out. `quick`, `digits` and `finetune` are ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from factory.errors import Fault, UserError
from train.config import Augmentation, Hyperparameters

_CIFAR_AUGMENTATION = Augmentation(
    crop_scale=(0.08, 1.0), crop_ratio=(3 / 4, 4 / 3), horizontal_flip=0.5
)
# Rotation by up to 90 degrees, flips, a 224 crop of 256 pixels: 0.875 of each side.
_EUROSAT_AUGMENTATION = Augmentation(
    crop_scale=(0.875**2, 0.875**2), horizontal_flip=0.5, rotation=90, fill="zeros"
)


@dataclass(frozen=True)
class Preset:
    """A named starting point.

    Attributes:
        summary: What it is for, one line.
        hyperparameters: Its values.
        family_weight_decay: Weight decay of models whose name starts with the key.
    """

    summary: str
    hyperparameters: Hyperparameters
    family_weight_decay: Mapping[str, float]


_PAPER = Hyperparameters(
    epochs=200,
    batch_size=128,
    lr=2.0e-4,
    weight_decay=0.9,
    decay_all=True,
    augmentation=_CIFAR_AUGMENTATION,
)
_PAPER_FAMILIES = {"mobilenetv3": 0.1, "tf_mobilenetv3": 0.1}

PRESETS: dict[str, Preset] = {
    "quick": Preset(
        "Minutes on a CPU: 32 px, 30 epochs, warm-up and cosine, mild crops and colour, flips "
        "(--no-flip for digits and letters).",
        Hyperparameters(
            epochs=30,
            batch_size=64,
            lr=4.0e-3,
            weight_decay=0.05,
            warmup_epochs=2,
            label_smoothing=0.1,
            clip_grad_norm=1.0,
            image_size=32,
            augmentation=Augmentation(
                crop_scale=(0.6, 1.0),
                crop_ratio=(0.8, 1.25),
                horizontal_flip=0.5,
                brightness=0.3,
                contrast=0.3,
                saturation=0.3,
            ),
        ),
        {},
    ),
    "digits": Preset(
        "As quick for digits and letters: never flipped; rotated, sheared, moved, zoomed; half of "
        "the images inverted (dark on light, light on dark), half of them without colour.",
        Hyperparameters(
            epochs=30,
            batch_size=64,
            lr=4.0e-3,
            weight_decay=0.05,
            warmup_epochs=2,
            label_smoothing=0.1,
            clip_grad_norm=1.0,
            image_size=32,
            augmentation=Augmentation(
                rotation=12,
                translate=0.1,
                zoom=(0.75, 1.2),
                shear=10,
                brightness=0.3,
                contrast=0.4,
                saturation=0.5,
                greyscale=0.5,
                invert=0.5,
            ),
        ),
        {},
    ),
    "finetune": Preset(
        "With --pretrained: 10 epochs at a low rate, 224 px, crops and flips.",
        Hyperparameters(
            epochs=10,
            batch_size=64,
            lr=1.0e-4,
            weight_decay=0.05,
            warmup_epochs=1,
            label_smoothing=0.1,
            clip_grad_norm=1.0,
            image_size=224,
            augmentation=Augmentation(
                crop_scale=(0.35, 1.0), crop_ratio=(3 / 4, 4 / 3), horizontal_flip=0.5
            ),
        ),
        {},
    ),
    "paper": Preset(
        "Section 4.1 on CIFAR: 200 epochs, batch 128, AdamW at 2e-4, cosine, weight decay 0.9 "
        "(MobileNetV3 0.1); random resized crops and flips as in the released code.",
        _PAPER,
        _PAPER_FAMILIES,
    ),
    "paper-eurosat": Preset(
        "Section 4.1 on EuroSAT: as paper with weight decay 0.3; 224 px, rotation, flips and "
        "unnormalised pixels as in the released code.",
        _PAPER.model_copy(
            update={
                "weight_decay": 0.3,
                "image_size": 224,
                "resample": "bilinear",
                "mean": (0.0, 0.0, 0.0),
                "std": (1.0, 1.0, 1.0),
                "augmentation": _EUROSAT_AUGMENTATION,
            }
        ),
        _PAPER_FAMILIES,
    ),
    "code": Preset(
        "As paper with the defaults of the released code: 50 epochs, batch 64, AdamW at 1e-4, a "
        "fifth of the set held out.",
        _PAPER.model_copy(
            update={"epochs": 50, "batch_size": 64, "lr": 1.0e-4, "val_fraction": 0.2}
        ),
        _PAPER_FAMILIES,
    ),
    "corrected": Preset(
        "As paper with what is usual since: a higher rate with warm-up, decay 0.05 of weight "
        "matrices only, label smoothing, gradients clipped, milder crops.",
        _PAPER.model_copy(
            update={
                "lr": 1.0e-3,
                "weight_decay": 0.05,
                "decay_all": False,
                "warmup_epochs": 5.0,
                "label_smoothing": 0.1,
                "clip_grad_norm": 1.0,
                "augmentation": _CIFAR_AUGMENTATION.model_copy(update={"crop_scale": (0.35, 1.0)}),
            }
        ),
        {},
    ),
}


def resolve(
    preset: str,
    *,
    model: str,
    overrides: Mapping[str, Any],
    augmentation: Mapping[str, Any] | None = None,
) -> Hyperparameters:
    """Return a preset's values for one model, with the user's own on top.

    Args:
        preset: A key of `PRESETS`.
        model: timm model name; it decides the weight decay of the paper's presets.
        overrides: Fields of `Hyperparameters`.
        augmentation: Fields of `Augmentation` to change, or None.

    Raises:
        UserError: Unknown preset; every value that is out of range, all at once.
    """
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(PRESETS)}"
        raise UserError(f"--preset {preset}: no such preset; {hint}")
    chosen = PRESETS[preset]
    values = chosen.hyperparameters.model_dump()
    for prefix, weight_decay in chosen.family_weight_decay.items():
        if model.startswith(prefix):
            values["weight_decay"] = weight_decay
    values.update(overrides)
    values["augmentation"] = {**values["augmentation"], **(augmentation or {})}
    try:
        return Hyperparameters.model_validate(values)
    except ValidationError as error:
        raise UserError(_faults(error)) from None


def _faults(error: ValidationError) -> list[Fault]:
    faults = []
    for entry in error.errors():
        path = [str(part) for part in entry["loc"]]
        message = entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            near = difflib.get_close_matches(path[-1], Augmentation.model_fields, n=1)
            known = f"known: {', '.join(Augmentation.model_fields)}"
            message = f"no such augmentation; {f'did you mean {near[0]}?' if near else known}"
        if path[0] == "augmentation":
            option = f"--augment {path[1]}" if len(path) > 1 else "--augment"
        else:
            option = f"--{path[0].replace('_', '-')}"
        value = entry["input"]
        shown = f" (found {value})" if isinstance(value, str | int | float) else ""
        faults.append(Fault(f"{option}: {message}{shown}"))
    return faults
