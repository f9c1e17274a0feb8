"""Distillation: a trained model's probabilities as soft labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from factory.common.errors import UserError
from factory.common.text import some
from factory.common.whole_files import sha256
from factory.data.class_names import find_names
from factory.hub.client import bound_requests
from factory.hub.ids import is_model_id
from factory.models.classifier import create_classifier, output_names
from factory.models.model_config import ModelConfig
from factory.models.model_folder import fetch_model, read_model_folder
from train.settings import Hyperparameters, Rgb


@dataclass(frozen=True)
class Teacher:
    """A model whose outputs are learnt.

    Attributes:
        model: In evaluation mode, without gradients.
        outputs: For each class of the student, the teacher's output.
        side: Height and width of its input in pixels.
        mean: Of its input.
        std: Of its input.
        sha256: Hash of its weights.
    """

    model: nn.Module
    outputs: tuple[int, ...]
    side: int
    mean: Rgb
    std: Rgb
    sha256: str

    def logits(self, images: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
        """Return the logits of the student's classes for inputs of the student, (B, C).

        Args:
            images: Shape (B, 3, S, S), augmented and normalised for the student.
            mean: That the student's input has subtracted.
            std: That it was divided by.
        """
        own = images * _channels(std, images) + _channels(mean, images)
        own = (own - _channels(self.mean, images)) / _channels(self.std, images)
        if own.shape[-1] != self.side:
            size = (self.side, self.side)
            own = functional.interpolate(own, size=size, mode="bilinear", antialias=True)
        with torch.no_grad():
            found: Tensor = self.model(own).float()[:, list(self.outputs)]
        return found


def distillation(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Return the divergence from the teacher's probabilities, summed over the batch.

    It is scaled by the square of the temperature, so that its gradients keep their size.

    Args:
        student: Logits, shape (B, C).
        teacher: Logits, shape (B, C).
        temperature: Divides both; above 1 it evens out the probabilities.
    """
    divergence = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        reduction="sum",
        log_target=True,
    )
    return divergence * temperature**2


class Distilling:
    """Adds the divergence from a teacher to a loss."""

    def __init__(self, teacher: Teacher, values: Hyperparameters, *, device: torch.device) -> None:
        """Move the teacher to the device."""
        if values.mean is None or values.std is None:
            raise AssertionError("mean and std are resolved before training")
        teacher.model.to(device)
        self._teacher, self._mean, self._std = teacher, values.mean, values.std
        self._weight, self._temperature = values.distill_weight, values.distill_temperature

    def __call__(self, loss: Tensor, logits: Tensor, images: Tensor) -> Tensor:
        """Return the weighted sum of a loss and the divergence, over a batch.

        Args:
            loss: Of the labels, summed over the batch.
            logits: Of the student, shape (B, C).
            images: Its input, shape (B, 3, S, S); random erasing and mixing included.
        """
        target = self._teacher.logits(images, mean=self._mean, std=self._std)
        divergence = distillation(logits, target, temperature=self._temperature)
        return (1 - self._weight) * loss + self._weight * divergence


def load_teacher(name: str, label_names: Sequence[str]) -> Teacher:
    """Load a teacher, and match its classes by name.

    Args:
        name: Run folder, or model of the Hub: `[hf-hub:]ORG/NAME[@REVISION]`.
        label_names: Classes of the student.

    Raises:
        UserError: It cannot be loaded, or lacks a class of the student.
        Failure: The Hub cannot be reached.
    """
    from timm.data.config import resolve_model_data_config

    place = name.removeprefix("local-dir:")
    if is_model_id(place):
        bound_requests()
    folder = fetch_model(place)[0] if is_model_id(place) else Path(place)
    shown = f"--teacher {place}"
    config, weights = read_model_folder(folder, shown)
    config.require_one_label(shown)
    model = create_classifier(config, weights, shown).eval().requires_grad_(False)
    if not all(one.isfinite().all() for one in model.state_dict().values()):
        raise UserError(f"{shown}: has weights that are NaN or infinite; choose another run")
    settings: dict[str, Any] = resolve_model_data_config(model)
    return Teacher(
        model=model,
        outputs=_outputs(_class_names(config, model, shown), label_names, place),
        side=int(settings["input_size"][-1]),
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        sha256=sha256(weights),
    )


def _class_names(config: ModelConfig, model: Any, teacher: str) -> list[str]:
    names = output_names(config, num_classes=model.num_classes, run=teacher)
    if names is None:
        raise UserError(
            f"{teacher}: its config.json has no label_names, so its outputs cannot be matched to "
            "classes; add the list of class names"
        )
    return names


def _outputs(own: list[str], label_names: Sequence[str], place: str) -> tuple[int, ...]:
    """Return the teacher's output for each class of the student."""
    found, _ = find_names(label_names, own, present=range(len(label_names)))
    missing = [label_names[number] for number, one in enumerate(found) if one is None]
    if missing:
        raise UserError(
            f"--teacher {place}: has no classes {some(missing)} ({some(own)}); choose a teacher of "
            "the same classes"
        )
    return tuple(one for one in found if one is not None)


def _channels(values: Sequence[float], images: Tensor) -> Tensor:
    return torch.tensor(values, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
