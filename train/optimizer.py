"""Create the optimiser of a run with timm."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError, first_line
from factory.models.timm_names import timm_files
from train.settings import Hyperparameters

if TYPE_CHECKING:
    from torch import nn, optim

_COMMON = ("sgd", "adamw", "lamb", "lion", "nadamw", "rmsprop", "adafactor")
# They need bitsandbytes, apex and second derivatives.
_UNUSABLE = ("bnb", "fused", "adahessian")


def check_optimizer(values: Hyperparameters) -> None:
    """Check that timm has an optimiser with these options, and that this loop can use it.

    Until timm is imported, a name that its source quotes counts.

    Raises:
        UserError: It has not, or the optimiser needs second derivatives.
    """
    name, bare = values.opt, values.opt.lower().removeprefix("lookahead_")
    if "timm" not in sys.modules:
        for file in timm_files("optim/_optim_factory.py"):
            text = file.read_text(encoding="utf-8", errors="replace")
            if not re.search(rf"(['\"]){re.escape(bare)}\1", text):
                raise _unknown(name, bare, re.findall(r"\bname=['\"](\w+)['\"]", text))
        return
    from timm.optim import get_optimizer_info, list_optimizers

    known = list_optimizers()
    if bare not in known:
        raise _unknown(name, bare, known)
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


def _unknown(name: str, bare: str, known: Sequence[str]) -> UserError:
    """Return the error; its advice is none that this loop cannot use."""
    usable = [one for one in known if not one.startswith(_UNUSABLE)]
    near = difflib.get_close_matches(bare, usable, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"use e.g. {', '.join(_COMMON)}"
    return UserError(f"--opt {name}: timm has no such optimiser; {hint}")


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
