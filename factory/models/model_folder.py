"""Read the folder of a trained model: a run, or a model of the Hub."""

from pathlib import Path

from factory.common.dataset_files import check_files
from factory.common.errors import UserError
from factory.hub.download import cached, fetch, offline
from factory.hub.ids import is_model_id, parse_target
from factory.models.model_config import ModelConfig, read_model_config, require_architecture

WEIGHTS = "model.safetensors"
_FILES = ("config.json", "config.yaml", WEIGHTS)


def fetch_model(name: str) -> tuple[Path, str]:
    """Return the cached and checked files of a Hub model, and its commit.

    Args:
        name: `[hf-hub:]ORG/NAME[@REVISION]`.

    Raises:
        UserError: The model or revision does not exist, or access is denied.
        Failure: The Hub cannot be reached.
    """
    target = parse_target(name, "model")
    snapshot = cached(target) if offline() else fetch(target, _FILES.__contains__)
    return snapshot.folder, snapshot.commit


def check_run(name: str) -> list[str]:
    """Check a run before large libraries are imported; a model of the Hub is not asked for.

    Returns:
        Its class names, as far as they are known.

    Raises:
        UserError: See `check_model_folder`, or its images have several labels.
    """
    if is_model_id(name):
        return []
    found = check_model_folder(Path(name), name)
    found.require_one_label(name)
    return list(found.label_names or ())


def check_model_folder(folder: Path, name: str) -> ModelConfig:
    """Return the `config.json` of a model, checked as far as that does not need timm.

    Raises:
        UserError: A file is missing, outside the folder, or cannot be read.
    """
    if not folder.exists():
        raise UserError(
            f"{name}: no such run folder; for a Hub model write ORG/NAME[@REVISION], or "
            "hf-hub:ORG/NAME if there is a folder ORG here"
        )
    config, weights = folder / "config.json", folder / WEIGHTS
    if not config.is_file():
        raise UserError(
            f"{name}: contains no config.json; is it a run folder, and is the run finished?"
        )
    check_files([config, weights], folder)
    found = read_model_config(config)
    if not weights.is_file():
        raise UserError(f"{name}: contains no {WEIGHTS}; is the run finished?")
    return found


def read_model_folder(folder: Path, name: str) -> tuple[ModelConfig, Path]:
    """Return the checked `config.json` of a model and the path of its weights.

    Raises:
        UserError: See `check_model_folder`, or timm has no such architecture.
    """
    found = check_model_folder(folder, name)
    require_architecture(found, folder / "config.json")
    return found, folder / WEIGHTS
