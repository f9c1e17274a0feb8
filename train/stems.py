"""First layers for small images: which models have one, and the line that suggests it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from factory.common.errors import UserError

# Patch sizes in pixels, by timm's module. A ViT has 64 tokens at 32 px; a ConvNeXt reduces each
# side 8-fold after its first layer.
_PATCHES = {"vision_transformer": 4, "deit": 4, "convnext": 1}
# timm's models for tests. Measured: the small stem changes the accuracy of `test_resnet` by -0.7
# points, which is not significant (docs/train.md).
_TINY = "test_"
# Larger images have enough positions after a stem for ImageNet.
MOST_SMALL = 64


def own_stem(
    stem: str, *, pretrained: bool, preset: str, asked: bool, note: Callable[[str], None]
) -> str:
    """Return the stem to use: pretrained weights belong to a stem of their own.

    Raises:
        UserError: The user chose another stem for pretrained weights.
    """
    if not pretrained or stem == "imagenet":
        return stem
    if asked:
        raise UserError(
            "--stem small: pretrained weights have a first layer of their own; remove it, or "
            "start from random weights"
        )
    note(
        f"pretrained weights have a first layer of their own, so --stem small of preset {preset} "
        "is not used; --image-size enlarges small images"
    )
    return "imagenet"


def patch_size(model: str) -> int | None:
    """Return the patch size of a model's stem for small images; None if it has no patches."""
    from timm.models import is_model_in_modules

    found = [size for module, size in _PATCHES.items() if is_model_in_modules(model, module)]
    return found[0] if found else None


def has_stem(model: str) -> bool:
    """Return whether a timm model can have a stem for small images."""
    from factory.models.small_stem import has_small_stem

    return patch_size(model) is not None or has_small_stem(_bare(model))


def with_small_stem(model: str, model_args: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and arguments that create a model with a stem for small images.

    Raises:
        UserError: The model has no such stem, or the user chose another patch size.
    """
    from factory.models.small_stem import small_stem_name

    if not has_stem(model):
        raise UserError(
            f"--stem small: {model} has none; timm's ResNets, MobileNetV3, EfficientNets, "
            "ConvNeXts and ViTs have one; --image-size enlarges the images for other models"
        )
    size = patch_size(model)
    if size is None:
        return small_stem_name(_bare(model)), dict(model_args)
    if model_args.get("patch_size", size) != size:
        raise UserError(
            f"--stem small sets patch_size={size}, and --model-arg sets "
            f"patch_size={model_args['patch_size']}; give one of them"
        )
    return model, {**model_args, "patch_size": size}


def stem_note(model: str, *, side: int, reduction: int, fixed: bool) -> str | None:
    """Return a line about a stem for ImageNet that meets small images; None if nothing helps.

    Args:
        model: timm's name.
        side: Height and width of the images.
        reduction: Of each side, in the model's last feature map; 1 if unknown.
        fixed: The stem cannot be replaced: it has weights, or the user has chosen it.
    """
    if _bare(model).startswith(_TINY):
        return None
    enlarge = f"--image-size {4 * side} (enlarged images)"
    can = not fixed and has_stem(model) and _small_reduction(model, reduction) < side
    if reduction < side and not (can and side <= MOST_SMALL):
        return None
    remedy = f"--stem small (a first layer for small images) or {enlarge}" if can else enlarge
    return (
        f"{model} is made for larger images than {side} px, on which it sees few details; this "
        f"usually lowers accuracy. Use {remedy}"
    )


def _small_reduction(model: str, reduction: int) -> int:
    """Return a model's reduction of image sides with a stem for small images."""
    from timm.models import is_model_in_modules

    patch = patch_size(model)
    if patch is not None and patch > 1:
        return patch
    halves = is_model_in_modules(_bare(model), ("efficientnet", "mobilenetv3"))
    return reduction // (2 if halves else 4)


def _bare(model: str) -> str:
    """Return timm's name without the tag of its weights."""
    return model.partition(".")[0]
