"""The five architectures of the paper's Table 2 by their names there, and their special settings.

The paper names architectures only; its released code uses torchvision's ResNets and ConvNeXt, a
copy of its MobileNetV3, and vit-pytorch's ViT in the sizes of ViT-B. timm's versions have
torchvision's layers and as many parameters; where their defaults differ, the `as-code` presets set
torchvision's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TABLE_2: dict[str, str] = {
    "ResNet50": "resnet50",
    "ResNet101": "resnet101",
    "ViT-B": "vit_base_patch16_224",
    "MobileNetV3-S": "mobilenetv3_small_100",
    "ConvNeXt-S": "convnext_small",
}


@dataclass(frozen=True)
class Family:
    """A preset's settings for models whose timm name begins with a prefix."""

    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    model_args: Mapping[str, Any] = field(default_factory=dict)


_MOBILENET = Family({"weight_decay": 0.1})

# Section 4.1: "MobileNetV3 0.1 always".
AS_PAPER: dict[str, Family] = {"mobilenetv3": _MOBILENET, "tf_mobilenetv3": _MOBILENET}

# torchvision's own settings where timm's differ: initial residual branches, dropout before the last
# layer, batch norm's epsilon and momentum, stochastic depth.
# MobileNetV3's initial weights differ too; ResNet's and ConvNeXt's have the same distribution.
_CODE_MOBILENET = Family(
    {**_MOBILENET.hyperparameters, "initialisation": "torchvision"},
    {"drop_rate": 0.2, "bn_eps": 1.0e-3, "bn_momentum": 0.01},
)
AS_CODE: dict[str, Family] = {
    "resnet": Family(model_args={"zero_init_last": False}),
    "mobilenetv3": _CODE_MOBILENET,
    "tf_mobilenetv3": _CODE_MOBILENET,
    "convnext": Family(model_args={"drop_path_rate": 0.4}),
}

# At 32 px an ImageNet stem leaves 8x8 positions after two layers and 1x1 at the end; 16 px patches
# give four tokens.
_SMALL = Family({"stem": "small"})
CORRECTED_SMALL: dict[str, Family] = dict.fromkeys(
    ("resnet", "mobilenetv3", "tf_mobilenetv3", "convnext", "vit_"), _SMALL
)


def timm_name(name: str) -> str:
    """Return timm's name for a model given by the paper's or by timm's."""
    return TABLE_2.get(name, name)


def family_of(model: str, families: Mapping[str, Family]) -> Family:
    """Return a preset's settings for a model; the longest matching prefix counts."""
    fitting = [prefix for prefix in families if model.startswith(prefix)]
    return families[max(fitting, key=len)] if fitting else Family()
