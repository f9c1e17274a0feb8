"""Load the model to score: a run folder, or a timm model of the Hub."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.scores_file import MAX_SECONDS, ModelFacts, Preprocessing
from eval.scoring_mode import Scoring, set_modes
from eval.timm_models import load_model
from factory.common.dataset_files import check_files
from factory.common.errors import UserError
from factory.common.untrusted_files import read_text, read_yaml
from factory.common.whole_files import sha256
from factory.data.sampling_record import held_out_kind
from factory.models.model_folder import WEIGHTS
from factory.models.model_folder import check_run as check_run_folder

if TYPE_CHECKING:
    import torch

METRICS = "metrics.csv"
_MAX_METRICS_BYTES = 16_000_000


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model and its facts.

    Attributes:
        run: Folder or Hub id, as the user gave it.
        folder: Folder of its files; for a Hub id, in the local cache.
        model: The model in the requested modes, float32, on the CPU.
        label_names: Class names in the order of the model's outputs.
        facts: For the scores file.
        preprocessing: For the scores file, and for the transform.
        training: The run's `config.yaml`, or None.
        threshold: Of an ONNX file: the probability below which an answer is "none of these".
    """

    run: str
    folder: Path
    model: torch.nn.Module
    label_names: list[str]
    facts: ModelFacts
    preprocessing: Preprocessing
    training: dict[str, Any] | None
    threshold: float | None = None

    @property
    def is_onnx(self) -> bool:
        """Whether the model is an ONNX file, not a run."""
        return is_onnx(self.run)


def is_onnx(run: str) -> bool:
    """Return whether a model is named by an ONNX file."""
    return run.lower().endswith(".onnx")


def check_run(run: str) -> list[str]:
    """Check a run before large libraries are imported, as `load_checkpoint` does.

    Returns:
        Its class names, as far as they are known.

    Raises:
        UserError: It is an ONNX file, or no run folder.
    """
    if is_onnx(run):
        raise UserError(
            f"{run}: ONNX files work with predict and load_classifier only; give the run folder"
        )
    return check_run_folder(run)


def load_checkpoint(run: str, scoring: Scoring | None = None) -> Checkpoint:
    """Load a run's weights into the model that its `config.json` describes.

    Args:
        run: Folder with `model.safetensors` and `config.json`, or a Hub id:
            `[hf-hub:]ORG/NAME[@REVISION]`.
        scoring: Sets the modes of its layers; default: evaluation.

    Raises:
        UserError: A file is missing or damaged, the architecture is unknown, the weights do not
            fit it, or the classes have no names.
        Failure: The Hub cannot be reached.
    """
    check_run(run)
    scoring = scoring or Scoring()
    loaded = load_model(run)
    if loaded.label_names is None:
        raise UserError(
            f"{run}: config.json has no label_names, so outputs cannot be matched to real classes; "
            "add the list of class names"
        )
    model, folder = loaded.model, loaded.folder
    training, epochs = _training(folder), _metrics(folder)
    facts = ModelFacts(
        architecture=loaded.config.architecture,
        num_classes=model.num_classes,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        weights_sha256=sha256(folder / WEIGHTS),
        commit=loaded.commit,
        batch_norm=scoring.batch_norm,
        dropout=scoring.dropout,
        selected_on=_selected_on(training),
        train_seconds=_train_seconds(epochs),
        epochs_done=None if epochs is None else len(epochs),
        epochs_planned=_epochs_planned(training),
    )
    set_modes(model, scoring)
    return Checkpoint(
        run=run,
        folder=folder,
        model=model,
        label_names=loaded.label_names,
        facts=facts,
        preprocessing=loaded.preprocessing,
        training=training,
    )


def _training(folder: Path) -> dict[str, Any] | None:
    path = folder / "config.yaml"
    if not path.is_file():
        return None
    check_files([path], folder)
    found = read_yaml(path)
    if not isinstance(found, dict):
        raise UserError(
            f"{path}: contains {type(found).__name__}, expected a mapping; is it the run's file?"
        )
    return found


def _selected_on(training: dict[str, Any] | None) -> str | None:
    """Return the data that selected the best epoch: held-out training images, or nothing."""
    values = _hyperparameters(training)
    fraction = values.get("val_fraction")
    if fraction is None:
        return None
    held_out = fraction or values.get("val_images")
    if not held_out:
        return "nothing (last epoch)"
    data = (training or {}).get("data")
    return f"held-out {held_out_kind(data if isinstance(data, dict) else {})}"


def _epochs_planned(training: dict[str, Any] | None) -> int | None:
    found = _hyperparameters(training).get("epochs")
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _hyperparameters(training: dict[str, Any] | None) -> dict[str, Any]:
    """Return a run's settings; none if their form is unknown."""
    values = (training or {}).get("hyperparameters")
    return values if isinstance(values, dict) else {}


def _metrics(folder: Path) -> list[dict[str, str]] | None:
    """Return the rows of a run's metrics table, one per finished epoch; None without a table."""
    path = folder / METRICS
    if not path.is_file():
        return None
    check_files([path], folder)
    try:
        return list(csv.DictReader(io.StringIO(read_text(path, max_bytes=_MAX_METRICS_BYTES))))
    except csv.Error:
        return None


def _train_seconds(epochs: list[dict[str, str]] | None) -> float | None:
    """Return the measured time of all epochs, or None if it is not known of each."""
    if epochs is None:
        return None
    try:
        seconds = [float(row.get("seconds") or "") for row in epochs]
    except ValueError:
        return None
    total = math.fsum(one if 0 <= one <= MAX_SECONDS else math.inf for one in seconds)
    return round(total, 3) if total <= MAX_SECONDS else None
