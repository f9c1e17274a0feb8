"""Loads what is scored: a run folder, or a timm model of the Hub, in timm's own form."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.model_config import ModelConfig, no_larger_than, read_model_config
from eval.scores import ModelFacts, Preprocessing
from eval.scoring import Scoring, set_modes
from factory.dataset_files import check_files
from factory.errors import UserError
from factory.hub_fetch import cached, fetch, offline
from factory.hub_target import looks_like_hub_id, parse_target
from factory.outside import read_text, read_yaml

if TYPE_CHECKING:
    import torch

_HUB_PREFIXES = ("hf-hub:", "hf_hub:")
_WEIGHTS = "model.safetensors"
_MAX_METRICS_BYTES = 16_000_000
_FILES = ("config.json", "config.yaml", _WEIGHTS)


@dataclass(frozen=True)
class Checkpoint:
    """A model ready to be scored, and what is known of it.

    Attributes:
        run: Folder or Hub id, as the user gave it.
        folder: Where its files lie; for a Hub id, in the local cache.
        model: In the modes asked for, float32, on the CPU.
        label_names: Class names in the order of the model's outputs.
        facts: For the scores file.
        preprocessing: For the scores file, and for the transform.
        training: The run's `config.yaml`, or None.
    """

    run: str
    folder: Path
    model: torch.nn.Module
    label_names: list[str]
    facts: ModelFacts
    preprocessing: Preprocessing
    training: dict[str, Any] | None


def is_hub_id(run: str) -> bool:
    """Whether `run` names a model of the Hub instead of a folder."""
    if run.startswith(_HUB_PREFIXES):
        return True
    # `runs/base` beside a folder `runs` is a slip in a path, no reason to ask the Hub.
    here = Path(run).exists() or Path(Path(run).parts[0] if run else ".").is_dir()
    return not here and looks_like_hub_id(run)


def load_checkpoint(run: str, scoring: Scoring | None = None) -> Checkpoint:
    """Load a run's weights into the model that its `config.json` describes.

    Args:
        run: Folder with `model.safetensors` and `config.json`, or a Hub id:
            `[hf-hub:]ORG/NAME[@REVISION]`.
        scoring: Says the modes of its layers; evaluation by default.

    Raises:
        UserError: A file is missing or damaged, the architecture is unknown, the weights don't
            fit it, or the classes have no names.
        Failure: The Hub cannot be reached.
    """
    scoring = scoring or Scoring()
    commit = None
    folder = Path(run)
    if is_hub_id(run):
        folder, commit = _fetch(run)
    config = _read_config(folder, run)
    weights = folder / _WEIGHTS
    if not weights.is_file():
        raise UserError(f"{run}: no {_WEIGHTS} in it; is the run finished?")
    check_files([weights], folder)
    model = _create(config, weights, run)
    names = _label_names(config, num_classes=model.num_classes, run=run)
    training = _training(folder)
    facts = ModelFacts(
        architecture=config.architecture,
        num_classes=model.num_classes,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        weights_sha256=sha256(weights),
        commit=commit,
        batch_norm=scoring.batch_norm,
        dropout=scoring.dropout,
        selected_on=_selected_on(training),
        train_seconds=_train_seconds(folder),
    )
    set_modes(model, scoring)
    return Checkpoint(
        run=run,
        folder=folder,
        model=model,
        label_names=names,
        facts=facts,
        preprocessing=_preprocessing(model, run),
        training=training,
    )


def _fetch(run: str) -> tuple[Path, str]:
    """Return the cached, checked snapshot of a Hub model's files, and its commit."""
    target = parse_target(run, "model")
    snapshot = cached(target) if offline() else fetch(target, _FILES.__contains__)
    return snapshot.folder, snapshot.commit


def _read_config(folder: Path, run: str) -> ModelConfig:
    if not folder.exists():
        raise UserError(
            f"{run}: no such run folder; for a model of the Hub write hf-hub:ORG/NAME[@REVISION]"
        )
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(
            f"{run}: no config.json in it; is it a run folder, and is the run finished?"
        )
    check_files([path], folder)
    return read_model_config(path)


def _create(config: ModelConfig, weights: Path, run: str) -> Any:
    """Let timm build the model and load the weights; each way to fail becomes one line."""
    import timm
    from safetensors import SafetensorError

    try:
        with no_larger_than(weights):
            return timm.create_model(**config.timm_arguments(weights))
    except SafetensorError as error:
        raise UserError(
            f"{run}: {_WEIGHTS} is damaged ({error}); copy or train the run again"
        ) from None
    except Exception as error:  # noqa: BLE001 (architectures answer odd arguments with anything)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2])[:300] or type(error).__name__
        raise UserError(
            f"{run}: config.json and {_WEIGHTS} don't make a model ({reason})"
        ) from None


def _label_names(config: ModelConfig, *, num_classes: int, run: str) -> list[str]:
    """Return class names in the order of outputs; timm stores a list, or a dict by output."""
    found = config.label_names or config.pretrained_cfg.label_names
    if not found:
        raise UserError(
            f"{run}: config.json has no label_names, so outputs can't be matched to real classes; "
            "add the list of class names"
        )
    keys = map(str, range(num_classes))
    names = [found.get(key) for key in keys] if isinstance(found, dict) else list(found)
    if len(found) != num_classes or None in names:
        raise UserError(
            f"{run}: config.json names {len(found)} labels for {num_classes} outputs; "
            "fix label_names"
        )
    return [str(name) for name in names]


def _preprocessing(model: Any, run: str) -> Preprocessing:
    from timm.data.config import resolve_model_data_config

    config: dict[str, Any] = resolve_model_data_config(model)
    if config["input_size"][0] != 3:
        raise UserError(
            f"{run}: the model takes {config['input_size'][0]} channels; "
            "only RGB models can be scored"
        )
    return Preprocessing(**{name: config[name] for name in Preprocessing.model_fields})


def _training(folder: Path) -> dict[str, Any] | None:
    path = folder / "config.yaml"
    if not path.is_file():
        return None
    check_files([path], folder)
    found = read_yaml(path)
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds {type(found).__name__}, not a mapping; is it the run's?")
    return found


def _selected_on(training: dict[str, Any] | None) -> str | None:
    """Say what the run chose its best epoch by: `train` holds out synthetic images, or nothing."""
    values = (training or {}).get("hyperparameters") or {}
    if not isinstance(values, dict):
        return None
    fraction = values.get("val_fraction")
    if fraction is None:
        return None
    held_out = fraction or values.get("val_images")
    return "held-out synthetic" if held_out else "nothing (last epoch)"


def _train_seconds(folder: Path) -> float | None:
    """Return the time of all epochs as the run measured it, or None without a table of them."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return None
    check_files([path], folder)
    rows = csv.DictReader(io.StringIO(read_text(path, max_bytes=_MAX_METRICS_BYTES)))
    try:
        seconds = [float(row.get("seconds") or "") for row in rows]
    except (ValueError, csv.Error):
        return None
    total = math.fsum(one for one in seconds if math.isfinite(one))
    return round(total, 3) if all(0 <= one < math.inf for one in seconds) else None


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
