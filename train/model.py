"""Create and check timm models."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from factory.common.errors import UserError, first_line
from factory.hub.client import bound_requests
from factory.hub.ids import LOCAL, split_source
from factory.models.model_folder import fetch_model, read_model_folder
from factory.models.model_size import no_larger_than
from train.model_name import check_model_name
from train.run_folder import WEIGHTS
from train.settings import IMAGENET_MEAN, IMAGENET_STD

_MOST_FEATURES = 8192


def create_classifier(
    name: str,
    *,
    num_classes: int,
    side: int,
    pretrained: bool,
    model_args: Mapping[str, Any],
) -> nn.Module:
    """Create a timm model for square RGB images of one size, and check that it accepts them.

    Models with a fixed input size (vision transformers) are created for this size.

    Raises:
        UserError: Unknown model or argument, no weights, or an unsupported image size.
    """
    import timm
    from safetensors import SafetensorError
    from timm.models import resolve_model_input_args

    check_model_name(name)
    folder = own_folder(name)
    source = f"local-dir:{folder}" if folder else name
    if pretrained:
        bound_requests()
    try:
        with _bounded(folder, num_classes=num_classes):
            arguments = resolve_model_input_args(source, {"img_size": side}, **model_args)
            # Models from a folder or the Hub have their own number of classes.
            arguments |= {"num_classes": num_classes, "pretrained": pretrained}
            model: nn.Module = timm.create_model(**arguments)
    except TypeError as error:
        raise UserError(f"--model-arg: {name} does not accept it ({first_line(error)})") from None
    except (OSError, RuntimeError, ValueError, AssertionError, KeyError, SafetensorError) as error:
        if pretrained:
            message = (
                f"--pretrained: weights of {name} could not be loaded ({first_line(error)}); "
                "check the network and the model's tag, or train from scratch"
            )
        else:
            message = f"--model {name} cannot be created for {side} px images ({first_line(error)})"
        raise UserError(message) from None
    _check_input(model, name=name, side=side, num_classes=num_classes)
    return model


def own_folder(name: str) -> Path | None:
    """Return the checked folder of a model with its own files; None for timm's models."""
    source, place = split_source(name)
    if not source:
        return None
    folder = Path(place) if source == LOCAL else fetch_model(name)[0]
    read_model_folder(folder, name)
    return folder


def _bounded(folder: Path | None, *, num_classes: int) -> AbstractContextManager[None]:
    """Limit the creation of a model from `folder` to the size of its weights."""
    if folder is None:
        return nullcontext()
    return no_larger_than(folder / WEIGHTS, spare=_MOST_FEATURES * max(num_classes, 1000))


def _check_input(model: nn.Module, *, name: str, side: int, num_classes: int) -> None:
    model.eval()
    try:
        with torch.inference_mode():
            output = model(torch.zeros(1, 3, side, side))
    except (RuntimeError, AssertionError, ValueError, ZeroDivisionError) as error:
        raise UserError(
            f"--model {name} does not accept {side} px images ({first_line(error)}); "
            "choose another --image-size, or set --model-arg patch_size=... to a transformer"
        ) from None
    if tuple(output.shape) != (1, num_classes):
        raise UserError(
            f"--model {name} has an output of shape {tuple(output.shape[1:])} for an image; "
            f"expected for {num_classes} classes: ({num_classes},)"
        )
    model.train()


def reduction_of(model: nn.Module) -> int:
    """Return a model's reduction of image sides in its last feature map; 1 if unknown."""
    stages = getattr(model, "feature_info", None)
    last = stages[-1] if isinstance(stages, list) and stages else {}
    return int(last.get("reduction", 1))


def pixel_statistics(model: nn.Module, *, pretrained: bool) -> tuple[Any, Any]:
    """Return mean and std for a model: its own if pretrained, else ImageNet's."""
    if not pretrained:
        return IMAGENET_MEAN, IMAGENET_STD
    own: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    return tuple(own.get("mean", IMAGENET_MEAN)), tuple(own.get("std", IMAGENET_STD))


def quieten_timm() -> None:
    """Silence timm's messages about weights that it does not find."""
    logging.getLogger("timm").setLevel(logging.ERROR)
