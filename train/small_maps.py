"""Faster weight gradients of convolutions with few output positions, on a CPU in float32.

oneDNN takes up to 11 times as long for them as a matrix product with as many operations (PyTorch
2.14, an AMD EPYC with AVX2), and half of a training step of `resnet18` at 32 px.
`python -m tests.benchmarks.weight_gradients` measures both ways for the shapes of common models.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Positions of an output map, and weights at one position of the kernel. With more positions or
# fewer weights, oneDNN is about as fast or takes a small part of a step. It is better at kernels of
# one position.
_MOST_POSITIONS = 49
_MOST_POSITIONS_OF_ONE = 9
_FEWEST_WEIGHTS = 2**15


def use_matrix_products(model: nn.Module) -> None:
    """Compute weight gradients of small maps as matrix products; results differ by rounding."""
    for layer in model.modules():
        # Subclasses may compute in another way.
        if type(layer) is nn.Conv2d and _can_be_changed(layer):
            layer.__class__ = _Convolution


def _can_be_changed(layer: nn.Conv2d) -> bool:
    return (
        layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and layer.in_channels * layer.out_channels >= _FEWEST_WEIGHTS
    )


class _Convolution(nn.Conv2d):
    """A convolution with another way to compute the gradient of its weights."""

    def _conv_forward(self, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not (torch.is_grad_enabled() and self._has_small_map(images) and _in_float32(images)):
            found: Tensor = super()._conv_forward(images, weight, bias)
        else:
            found = _Convolve.apply(images, weight, bias, self.stride, self.padding)
        return found

    def _has_small_map(self, images: Tensor) -> bool:
        # A list: torch.compile cannot trace a generator here.
        sides = [
            (size + 2 * padding - kernel) // stride + 1
            for size, kernel, stride, padding in zip(
                images.shape[-2:], self.kernel_size, self.stride, self._paddings, strict=True
            )
        ]
        most = _MOST_POSITIONS if prod(self.kernel_size) > 1 else _MOST_POSITIONS_OF_ONE
        return images.ndim == 4 and prod(sides) <= most

    @property
    def _paddings(self) -> tuple[int, int]:
        # Layers with names of paddings are not changed.
        assert not isinstance(self.padding, str)
        down, right = self.padding
        return down, right


def _in_float32(images: Tensor) -> bool:
    return (
        images.device.type == "cpu"
        and images.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


class _Convolve(torch.autograd.Function):
    """`conv2d` whose weight gradient is a product of output gradients and patches of the input."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(images, weight, bias, stride, padding)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        of_images, of_weight, of_bias, *_ = ctx.needs_input_grad
        return (
            _input_gradient(images, weight, gradient, ctx) if of_images else None,
            _weight_gradient(images, weight, gradient, ctx) if of_weight else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
        )


def _input_gradient(images: Tensor, weight: Tensor, gradient: Tensor, ctx: Any) -> Tensor:
    # If asked for the gradient of a bias, oneDNN also computes that of the weights.
    mask = (True, False, False)
    found: Tensor = torch.ops.aten.convolution_backward(
        gradient, images, weight, None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1, mask
    )[0]
    return found


def _weight_gradient(images: Tensor, weight: Tensor, gradient: Tensor, ctx: Any) -> Tensor:
    """Return the gradient in channels-last order, like the weights."""
    outputs, channels, height, width = weight.shape
    (down, right), (top, left) = ctx.stride, ctx.padding
    patches = (
        functional.pad(images, (left, left, top, top))
        .unfold(2, height, down)
        .unfold(3, width, right)
        .permute(0, 2, 3, 4, 5, 1)
        .reshape(-1, height * width * channels)
    )
    product = gradient.permute(0, 2, 3, 1).reshape(-1, outputs).t() @ patches
    return product.view(outputs, height, width, channels).permute(0, 3, 1, 2)
