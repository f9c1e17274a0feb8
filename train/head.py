"""Train the last layer of a model alone."""

from __future__ import annotations

from torch import nn

from factory.common.errors import UserError


def freeze_body(model: nn.Module) -> None:
    """Freeze all layers but the last.

    Raises:
        UserError: The model does not define its last layer.
    """
    head = _head_of(model)
    if not any(True for _ in head.parameters()):
        raise UserError(
            "--head-only: the last layer of this model has no parameters; omit the option, or "
            "choose another --model"
        )
    model.requires_grad_(False)
    head.requires_grad_(True)


def train_mode(model: nn.Module, *, head_only: bool) -> None:
    """Set training mode; a frozen body stays in eval mode, so that its statistics do not change."""
    model.train(not head_only)
    if head_only:
        _head_of(model).train()


def _head_of(model: nn.Module) -> nn.Module:
    find = getattr(model, "get_classifier", None)
    head = find() if find is not None else None
    if not isinstance(head, nn.Module):
        raise UserError(
            "--head-only: this model has no `get_classifier` that returns its last layer; remove "
            "it, or choose another --model"
        )
    return head
