"""Batch norm with statistics of their own for real and for generated images.

A batch begins with its real images. They pass through the layers that are saved, so that the model
is scored with the statistics of real images; the others pass through layers of their own, which are
left out of the saved weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers import convert_splitbn_model
from timm.layers.split_batchnorm import SplitBatchNorm2d
from torch import Tensor, nn

from factory.common.errors import UserError
from factory.common.text import plural

OTHERS = ".aux_bn."
"""Part of the names of the tensors that are left out."""
_LEAST = 2


class Real:
    """How many images at the beginning of a batch are real; shared by the layers of a model."""

    count = 0


class _NormOfGroups(SplitBatchNorm2d):  # type: ignore[misc]
    """timm's, which splits a batch into equal parts, for two parts of any size."""

    real: Real

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        if self.training:
            real, others = input[: self.real.count], input[self.real.count :]
            parts = [nn.BatchNorm2d.forward(self, real)] if len(real) else []
            parts += [self.aux_bn[0](others)] if len(others) else []
            found = torch.cat(parts)
        else:
            found = nn.BatchNorm2d.forward(self, input)
        # Present where timm's own layer has an activation.
        for name in ("drop", "act"):
            found = getattr(self, name)(found) if hasattr(self, name) else found
        return found


def split_norms(model: nn.Module, *, name: str) -> tuple[nn.Module, Real]:
    """Return a model with two statistics per batch norm, and the count of real images to set.

    Raises:
        UserError: The model has no batch norm.
    """
    if not any(isinstance(one, nn.modules.batchnorm._BatchNorm) for one in model.modules()):
        raise UserError(f"--split-bn: {name} has no batch norm; remove it")
    real = Real()
    converted: nn.Module = convert_splitbn_model(model, num_splits=2)
    for layer in converted.modules():
        if isinstance(layer, SplitBatchNorm2d):
            layer.__class__ = _NormOfGroups
            layer.real = real
    return converted, real


def saved_state(model: nn.Module) -> dict[str, Any]:
    """Return the tensors of a model without the statistics of generated images."""
    return {name: one for name, one in model.state_dict().items() if OTHERS not in name}


def batches_of_groups(
    rows: NDArray[np.int64],
    is_real: NDArray[np.bool_],
    *,
    num_batches: int,
    rng: np.random.Generator,
) -> list[NDArray[np.int64]]:
    """Return the batches of an epoch, each with its part of the real images, which come first.

    Args:
        rows: Of the epoch, shape (N,).
        is_real: Which of them are real, shape (N,).
        num_batches: Number of steps.
        rng: Decides the order.

    Raises:
        UserError: A batch would have too few images of one kind.
    """
    parts = [np.array_split(rng.permutation(rows[one]), num_batches) for one in (is_real, ~is_real)]
    for kind, found in zip(("real", "generated"), parts, strict=True):
        if len(found[-1]) < _LEAST:
            raise UserError(
                f"--split-bn: a batch has {plural(len(found[-1]), f'{kind} image')} and needs "
                f"{_LEAST}; raise "
                "--total-batch-size, or their share in --mix"
            )
    # The larger parts of the two are not in the same batches.
    return [np.concatenate(pair) for pair in zip(parts[0], parts[1][::-1], strict=True)]
