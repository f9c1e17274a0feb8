"""Create, check and save timm models."""

from __future__ import annotations

import difflib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from factory.common.errors import UserError, first_line
from factory.common.inside import is_inside
from factory.common.whole_files import replace_file, replace_text
from factory.hub.client import bound_requests
from factory.hub.ids import LOCAL, split_source
from factory.models.model_folder import fetch_model, read_model_folder
from factory.models.model_size import no_larger_than
from train.config import RunConfig
from train.run_folder import CONFIG_JSON, EPOCHS, WEIGHTS
from train.settings import IMAGENET_MEAN, IMAGENET_STD

_MOST_FEATURES = 8192
_ORIGIN_KEYS = ("tag", "license", "origin_url", "paper_name", "paper_ids", "notes")
# As timm names what is done with images that are not square.
_CROP_MODES = {"crop": "center", "pad": "border", "squash": "squash"}


def check_model_name(name: str) -> None:
    """Check that timm has a model, unless the name is one of a folder or of the Hub.

    Raises:
        UserError: It has not; the message suggests similar names.
    """
    import timm

    bare = name.partition(".")[0]
    if split_source(name)[0] or (":" not in name and timm.is_model(bare)):
        return
    near = difflib.get_close_matches(bare, timm.list_models(), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "see timm.list_models()"
    raise UserError(f"--model {name}: timm has no such model; {hint}")


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


def save_classifier(
    model: nn.Module, out: Path, *, config: RunConfig, epoch: int, val_top1: float | None
) -> None:
    """Write `model.safetensors` and `config.json`, so that timm loads `local-dir:OUT`.

    Each file is replaced atomically. The weights' metadata contain their epoch.
    """
    note = {"epoch": str(epoch)}
    if val_top1 is not None:
        note["val_top1"] = f"{val_top1:.6f}"
    replace_text(out / CONFIG_JSON, _timm_config(model, config))
    replace_file(out / WEIGHTS, lambda path: _write_weights(model, path, note))


def keep_weights(model: nn.Module, out: Path, *, epoch: int) -> None:
    """Write the weights of one epoch to `epochs/epoch-NNNN.safetensors`, beside the best ones."""
    path = out / EPOCHS / f"epoch-{epoch:04d}.safetensors"
    path.parent.mkdir(exist_ok=True)
    if not is_inside(path.parent, out):
        raise UserError(f"{path.parent}: is a link out of the run folder; replace it with a folder")
    note = {"epoch": str(epoch)}
    replace_file(path, lambda temporary: _write_weights(model, temporary, note))


def _write_weights(model: nn.Module, path: Path, note: Mapping[str, str]) -> None:
    """Write a safetensors file; equal weights and notes give equal bytes."""
    from safetensors.torch import save_file

    from train.split_norm import saved_state

    weights = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in saved_state(model).items()
    }
    save_file(weights, path, metadata={"format": "pt", **note})
    # safetensors writes the metadata in random order.
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(text.ljust(size))


def freeze_body(model: nn.Module) -> None:
    """Freeze all layers but the last.

    Raises:
        UserError: The model does not define its last layer.
    """
    head = _head_of(model)
    if not any(True for _ in head.parameters()):
        raise UserError(
            "--head-only: the last layer of this model has no parameters; remove it, or choose "
            "another --model"
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


def _timm_config(model: nn.Module, config: RunConfig) -> str:
    from timm.models._hub import save_config_for_hf

    values = config.hyperparameters
    side = values.image_size
    preprocessing = {
        "input_size": (3, side, side),
        "mean": values.mean,
        "std": values.std,
        "interpolation": values.resample,
        "crop_pct": values.test_crop,
        "crop_mode": _CROP_MODES[values.fit],
    }
    descriptor, name = tempfile.mkstemp(suffix=".json")
    os.close(descriptor)
    try:
        save_config_for_hf(
            model,
            name,
            model_config={"label_names": list(config.data.label_names)},
            data_config=preprocessing,
        )
        saved = json.loads(Path(name).read_text())
    finally:
        Path(name).unlink()
    # The number of classes is `num_classes` at the top. transformers passes it on beside
    # `model_args`, so a second one here would keep its pipelines from loading the model.
    saved.get("model_args", {}).pop("num_classes", None)
    if values.fit != "crop":
        saved["fit"] = values.fit
    if not config.pretrained or config.weights is not None:
        # They describe timm's weights, which these are not.
        for key in _ORIGIN_KEYS:
            saved["pretrained_cfg"].pop(key, None)
    return json.dumps(saved, indent=2) + "\n"


def quieten_timm() -> None:
    """Silence timm's messages about weights that it does not find."""
    logging.getLogger("timm").setLevel(logging.ERROR)
