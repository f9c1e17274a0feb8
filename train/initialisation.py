"""Initialise timm's MobileNetV3 with the distributions of torchvision's.

timm follows TensorFlow: smaller fan-out for grouped convolutions, a uniform classifier.
"""

from __future__ import annotations

from torch import nn

# torchvision has a linear layer for timm's 1x1 convolution on pooled features.
_HIDDEN_LAYER = "conv_head"


def initialise_as_torchvision(model: nn.Module) -> None:
    """Initialise a timm MobileNetV3 like `torchvision.models.MobileNetV3`, in place.

    Convolutions are He-normal by fan-out, linear layers normal with standard deviation 0.01, all
    biases zero, and norms the identity.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) or name == _HIDDEN_LAYER:
            nn.init.normal_(module.weight, 0, 0.01)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
