"""The folder of a model that brings its own files: a run, or a model of the Hub."""

from __future__ import annotations

from pathlib import Path

from factory.common.dataset_files import check_files
from factory.common.errors import UserError
from factory.hub.download import cached, fetch, offline
from factory.hub.ids import parse_target
from factory.models.model_config import ModelConfig, read_model_config

WEIGHTS = "model.safetensors"
_FILES = ("config.json", "config.yaml", WEIGHTS)


def fetch_model(name: str) -> tuple[Path, str]:
    """Return the cached, checked snapshot of a Hub model's files, and its commit.

    Args:
        name: `[hf-hub:]ORG/NAME[@REVISION]`.

    Raises:
        UserError: No such model or revision, or no permission.
        Failure: The Hub cannot be reached.
    """
    target = parse_target(name, "model")
    snapshot = cached(target) if offline() else fetch(target, _FILES.__contains__)
    return snapshot.folder, snapshot.commit


def read_model_folder(folder: Path, name: str) -> tuple[ModelConfig, Path]:
    """Return the checked `config.json` of a model and the path of its weights.

    Args:
        folder: Of its files.
        name: As the user gave it, for messages.

    Raises:
        UserError: A file is missing, leads out of the folder, or does not read.
    """
    if not folder.exists():
        raise UserError(
            f"{name}: no such run folder; for a model of the Hub write hf-hub:ORG/NAME[@REVISION]"
        )
    config, weights = folder / "config.json", folder / WEIGHTS
    if not config.is_file():
        raise UserError(
            f"{name}: no config.json in it; is it a run folder, and is the run finished?"
        )
    check_files([config, weights], folder)
    found = read_model_config(config)
    if not weights.is_file():
        raise UserError(f"{name}: no {WEIGHTS} in it; is the run finished?")
    return found, weights
