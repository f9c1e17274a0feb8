"""Load a run folder of `train`, which measures images by what it has learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.common.untrusted_files import read_json
from factory.common.whole_files import sha256
from factory.data.pixels import border_colour, pad
from factory.models.classifier import create_classifier, output_names
from factory.models.model_folder import read_model_folder

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RunModel:
    """A trained classifier in eval mode.

    Attributes:
        network: The timm model.
        names: Class names of its outputs; empty if it has none.
        pixels: Function from a PIL image to the model's input, shape (3, height, width).
        revision: Hash of its weights.
    """

    network: Any
    names: list[str]
    pixels: Callable[[Any], torch.Tensor]
    revision: str


def is_run(model: str) -> bool:
    """Whether a model is a run folder: its `config.json` names the architecture."""
    config = Path(model) / "config.json"
    found = read_json(config) if config.is_file() else None
    return isinstance(found, dict) and "architecture" in found


def load_run(model: str, device: str) -> RunModel:
    """Load a run folder.

    Raises:
        UserError: Its files are damaged, or its images have several labels.
    """
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    config, weights = read_model_folder(Path(model), model)
    config.require_one_label(model)
    network = create_classifier(config, weights, model).eval().to(device)
    names = output_names(config, num_classes=network.num_classes, run=model) or []
    settings: dict[str, Any] = resolve_model_data_config(network)
    if config.fit in ("pad", "squash"):
        settings["crop_mode"] = "squash"
    transform = create_transform(**settings, is_training=False)
    ratio = settings["input_size"][2] / settings["input_size"][1]
    colour = border_colour(settings["mean"])

    def pixels(image: Any) -> torch.Tensor:
        shaped = pad(image, ratio, colour=colour) if config.fit == "pad" else image
        found: torch.Tensor = transform(shaped)
        return found

    return RunModel(network, names, pixels, sha256(weights)[:40])
