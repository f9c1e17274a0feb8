"""Loads models from a folder or the Hub, in timm's own form, whether or not they name classes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.scores import Preprocessing
from factory.errors import Fault, UserError
from factory.hub_fetch import cached, fetch, offline
from factory.hub_target import looks_like_hub_id, parse_target

WEIGHTS = "model.safetensors"
_HUB_PREFIXES = ("hf-hub:", "hf_hub:")
_FILES = ("config.json", "config.yaml", WEIGHTS)


@dataclass(frozen=True)
class Loaded:
    """A model as its files describe it, whether or not they name its classes.

    Attributes:
        folder: Folder of its files; for a Hub id, in the local cache.
        commit: Of a model of the Hub, else None.
        config: Its `config.json`.
        model: In evaluation mode, float32, on the CPU.
        label_names: Class names in the order of the model's outputs, or None.
        preprocessing: Evaluation preprocessing that its config describes.
    """

    folder: Path
    commit: str | None
    config: dict[str, Any]
    model: Any
    label_names: list[str] | None
    preprocessing: Preprocessing


def is_hub_id(run: str) -> bool:
    """Whether `run` names a model of the Hub instead of a folder."""
    if run.startswith(_HUB_PREFIXES):
        return True
    # `runs/base` beside a folder `runs` is a slip in a path, no reason to ask the Hub.
    here = Path(run).exists() or Path(Path(run).parts[0] if run else ".").is_dir()
    return not here and looks_like_hub_id(run)


def load_model(run: str) -> Loaded:
    """Load a model that need not name its classes, such as timm's ImageNet models on the Hub.

    Args:
        run: As for `load_checkpoint`.

    Raises:
        UserError: A file is missing or damaged, the architecture is unknown, the weights don't
            fit it, or `label_names` doesn't fit the number of outputs.
        Failure: The Hub cannot be reached.
    """
    commit = None
    folder = Path(run)
    if is_hub_id(run):
        folder, commit = _fetch(run)
    config = _read_config(folder, run)
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{run}: no {WEIGHTS} in it; is the run finished?")
    model = _create(folder, run).eval()
    return Loaded(
        folder=folder,
        commit=commit,
        config=config,
        model=model,
        label_names=_label_names(config, num_classes=model.num_classes, run=run),
        preprocessing=preprocessing_of(model, run),
    )


def _fetch(run: str) -> tuple[Path, str]:
    """Return the cached, checked snapshot of a Hub model's files, and its commit."""
    target = parse_target(run, "model")
    snapshot = cached(target) if offline() else fetch(target, _FILES.__contains__)
    return snapshot.folder, snapshot.commit


def _read_config(folder: Path, run: str) -> dict[str, Any]:
    if not folder.exists():
        raise UserError(
            f"{run}: no such run folder; for a model of the Hub write hf-hub:ORG/NAME[@REVISION]"
        )
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(
            f"{run}: no config.json in it; is it a run folder, and is the run finished?"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(Fault(f"not JSON: {error}", file=str(path))) from None
    if not isinstance(config, dict) or "architecture" not in config:
        raise UserError(f"{path}: no `architecture` in it; timm's form of config.json is needed")
    return config


def _create(folder: Path, run: str) -> Any:
    """Let timm build the model and load the weights; each way to fail becomes one line."""
    import timm
    from safetensors import SafetensorError

    try:
        return timm.create_model(f"local-dir:{folder}", pretrained=True)
    except SafetensorError as error:
        raise UserError(
            f"{run}: {WEIGHTS} is damaged ({error}); copy or train the run again"
        ) from None
    except (RuntimeError, TypeError, KeyError) as error:
        # timm answers an unknown architecture, foreign arguments or other shapes with these.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2]) or type(error).__name__
        raise UserError(f"{run}: config.json and {WEIGHTS} don't make a model ({reason})") from None


def _label_names(config: dict[str, Any], *, num_classes: int, run: str) -> list[str] | None:
    """Return class names in the order of outputs; timm stores a list, or a dict by output."""
    found = config.get("label_names") or config.get("pretrained_cfg", {}).get("label_names")
    if isinstance(found, dict):
        found = [found.get(str(index)) for index in range(num_classes)]
    if not found:
        return None
    if len(found) != num_classes or None in found:
        raise UserError(
            f"{run}: config.json names {len(found)} labels for {num_classes} outputs; "
            "fix label_names"
        )
    return [str(name) for name in found]


def preprocessing_of(model: Any, run: str) -> Preprocessing:
    """Return timm's evaluation preprocessing of a model, by its `pretrained_cfg`.

    It is of the size the weights were trained at; timm's larger `test_input_size`, which some
    weights have too, is not used.

    Raises:
        UserError: The model doesn't take RGB.
    """
    from timm.data.config import resolve_model_data_config

    config: dict[str, Any] = resolve_model_data_config(model)
    if config["input_size"][0] != 3:
        raise UserError(
            f"{run}: the model takes {config['input_size'][0]} channels; "
            "only RGB models can be scored"
        )
    return Preprocessing(**{name: config[name] for name in Preprocessing.model_fields})
