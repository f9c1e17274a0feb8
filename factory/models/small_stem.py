"""timm models with a first layer for small images: `resnet18_small_stem`, and others like it.

A stem for ImageNet's 224 px images reduces 32 px images to 8x8 positions before the first block. A
small stem keeps every position: ResNets get a 3x3 convolution with stride 1 and no max-pooling,
models with a `conv_stem` (MobileNet, EfficientNet) keep their convolution with stride 1. timm has
no argument for this, and a stride is not part of the weights, so such a model has a name of its
own: without `register_small_stems`, timm refuses it instead of computing something else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from factory.models.timm_names import SUFFIX

LOADING = (
    "from factory.models.small_stem import register_small_stems",
    "",
    "register_small_stems()",
)
"""Lines of Python after which timm has these models."""
# timm's modules of these models.
_MODULES = ("resnet", "efficientnet", "mobilenetv3")


def has_small_stem(architecture: str) -> bool:
    """Return whether timm has a model that this module can give a small stem."""
    from timm.models import is_model, is_model_in_modules

    return bool(is_model(architecture) and is_model_in_modules(architecture, _MODULES))


def small_stem_name(architecture: str) -> str:
    """Return the name of a model with a small stem, and register it.

    Args:
        architecture: timm's name, without a tag of weights; see `has_small_stem`.
    """
    from timm.models import is_model, register_model

    name = architecture + SUFFIX
    if not is_model(name):
        register_model(_entrypoint(architecture, name))
    return name


def register_small_stems() -> None:
    """Register all models with a small stem, so that `timm.create_model` loads their runs."""
    from timm.models import list_models

    for module in _MODULES:
        for architecture in list_models(module=module):
            if not architecture.endswith(SUFFIX):
                small_stem_name(architecture)


def register_for(architecture: str) -> None:
    """Register an architecture of a `config.json` if its name is that of a small stem."""
    base = architecture.removesuffix(SUFFIX)
    if base != architecture and has_small_stem(base):
        small_stem_name(base)


def _entrypoint(architecture: str, name: str) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **arguments: Any) -> nn.Module:
        from timm.models import load_pretrained, model_entrypoint

        if arguments.pop("features_only", False):
            raise TypeError(f"{name} has no features_only")
        model: nn.Module = model_entrypoint(architecture)(pretrained=False, **arguments)
        _replace_stem(model)
        config: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
        config["architecture"] = name
        if pretrained:
            # Only now: the weights are those of the small stem.
            load_pretrained(model, config, num_classes=int(model.num_classes))  # type: ignore[arg-type]
        return model

    create.__name__ = create.__qualname__ = name
    create.__module__ = __name__
    return create


def _replace_stem(model: Any) -> None:
    """Let the first layer keep every position, in place."""
    if hasattr(model, "conv_stem"):
        model.conv_stem.stride = (1, 1)
        _divide_reductions(model, 2)
        return
    if isinstance(model.conv1, nn.Sequential):
        first: Any = model.conv1[0]
        first.stride = (1, 1)
    else:
        old = model.conv1
        model.conv1 = nn.Conv2d(
            old.in_channels, old.out_channels, 3, stride=1, padding=1, bias=old.bias is not None
        )
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    _divide_reductions(model, 4)


def _divide_reductions(model: Any, factor: int) -> None:
    for stage in model.feature_info:
        stage["reduction"] = max(stage["reduction"] // factor, 1)
