"""Create the optimiser of a run with timm."""

from __future__ import annotations

from typing import Any

from torch import nn, optim

from factory.common.errors import UserError, first_line
from train.library_names import bare_optimizer, unknown_optimizer
from train.settings import Hyperparameters


def check_optimizer(values: Hyperparameters) -> None:
    """Check that timm has an optimiser with these options, and that this loop can use it.

    Raises:
        UserError: It has not, or the optimiser needs second derivatives.
    """
    from timm.optim import get_optimizer_info, list_optimizers

    name, known = values.opt, list_optimizers()
    bare = bare_optimizer(name)
    if bare not in known:
        raise unknown_optimizer(name, known)
    info = get_optimizer_info(bare)
    if getattr(info, "second_order", False):
        raise UserError(f"--opt {name}: needs second derivatives, which train does not compute")
    # timm ignores options that an optimiser does not have.
    for option, given, has in (
        ("--momentum", values.momentum, info.has_momentum),
        ("--opt-betas", values.opt_betas, info.has_betas),
        ("--opt-eps", values.opt_eps, info.has_eps),
    ):
        if given is not None and not has:
            raise UserError(f"--opt {name} has no {option}; remove it")


def make_optimizer(model: nn.Module, values: Hyperparameters) -> optim.Optimizer:
    """Return timm's optimiser for the parameters that are trained.

    Raises:
        UserError: A package is missing, or the optimiser does not accept an option.
    """
    from timm.optim import create_optimizer_v2

    given = {
        "momentum": values.momentum,
        "betas": values.opt_betas,
        "eps": values.opt_eps,
        "layer_decay": values.layer_decay,
    }
    # timm makes groups of its own for layer decay only: it would exempt other parameters from
    # decay, and checkpoints of earlier versions have groups in this order.
    groups: Any = model
    if values.layer_decay is None:
        groups = parameter_groups(
            model, weight_decay=values.weight_decay, decay_all=values.decay_all
        )
    try:
        created: optim.Optimizer = create_optimizer_v2(
            groups,
            opt=values.opt,
            lr=values.lr,
            weight_decay=values.weight_decay,
            filter_bias_and_bn=not values.decay_all,
            **{name: value for name, value in given.items() if value is not None},
        )
    except (TypeError, ValueError, AssertionError, ImportError, RuntimeError) as error:
        raise UserError(f"--opt {values.opt}: cannot be used ({first_line(error)})") from None
    return created


def parameter_groups(
    model: nn.Module, *, weight_decay: float, decay_all: bool
) -> list[dict[str, Any]]:
    """Group parameters: no decay for biases, norms and exempt parameters."""
    if decay_all:
        learning = [one for one in model.parameters() if one.requires_grad]
        return [{"params": learning, "weight_decay": weight_decay}]
    exempt: set[str] = getattr(model, "no_weight_decay", set)()
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        (free if parameter.ndim < 2 or name in exempt else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


def set_rate(optimizer: Any, rate: float) -> None:
    """Set the learning rate; layers with a decay get their part of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
