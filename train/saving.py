"""Save models in timm's own form: `model.safetensors` and `config.json`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from factory.common.errors import UserError
from factory.common.local_paths import is_inside
from factory.common.whole_files import replace_file, replace_text
from factory.models.model_config import SEVERAL_LABELS
from train.config import RunConfig
from train.run_folder import CONFIG_JSON, EPOCHS, WEIGHTS
from train.split_norm import saved_state

_ORIGIN_KEYS = ("tag", "license", "origin_url", "paper_name", "paper_ids", "notes")
# As timm names what is done with images that are not square.
_CROP_MODES = {"crop": "center", "pad": "border", "squash": "squash"}


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
    if config.data.several_labels:
        saved["problem_type"] = SEVERAL_LABELS
    if not config.pretrained or config.weights is not None:
        # They describe timm's weights, which these are not.
        for key in _ORIGIN_KEYS:
            saved["pretrained_cfg"].pop(key, None)
    return json.dumps(saved, indent=2) + "\n"
