"""The losses of training, as sums over the images of a batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from train.settings import Hyperparameters

Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits (B, C), and labels (B,) or probabilities (B, C), to the sum over the batch."""


def make_loss(values: Hyperparameters) -> Loss:
    """Return the loss of a run.

    Labels are smoothed here; probabilities of mixed images are smooth already. Several labels per
    image, 1 or 0 for each class, are probabilities too.
    """
    one = _of_probabilities(values)
    return lambda logits, targets: one(logits, targets if targets.ndim == 1 else targets.float())


def _of_probabilities(values: Hyperparameters) -> Loss:
    if values.bce_loss:
        return _binary_cross_entropy(values)
    if values.focal_gamma is not None:
        return _focal(values.focal_gamma, smoothing=values.label_smoothing)
    return _cross_entropy(values.label_smoothing)


def _cross_entropy(smoothing: float) -> Loss:
    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        smooth = 0.0 if targets.is_floating_point() else smoothing
        return functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=smooth)

    return loss


def _binary_cross_entropy(values: Hyperparameters) -> Loss:
    """Return timm's loss: a question for each class; mean or sum over classes."""
    from timm.loss import BinaryCrossEntropy

    each = BinaryCrossEntropy(
        smoothing=values.label_smoothing,
        target_threshold=values.bce_target_thresh,
        reduction="none",
    )

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        by_class: Tensor = each(logits, targets)
        return by_class.sum() if values.bce_sum else by_class.mean(dim=1).sum()

    return loss


def _focal(gamma: float, *, smoothing: float) -> Loss:
    """Return torchvision's sigmoid focal loss, summed over classes, without class weights."""
    from torchvision.ops import sigmoid_focal_loss

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        if not targets.is_floating_point():
            targets = functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
            targets = targets * (1 - smoothing) + smoothing / logits.shape[1]
        summed: Tensor = sigmoid_focal_loss(logits, targets, alpha=-1, gamma=gamma, reduction="sum")
        return summed

    return loss
