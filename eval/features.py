"""Features of pictures: what a model sees just before its last layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval.checkpoint import is_hub_id, load_checkpoint
from eval.predict import Transform, make_transform, pad, prepared, this_process
from eval.score import set_precision
from eval.scores import Preprocessing
from factory.console import progress
from factory.errors import UserError

if TYPE_CHECKING:
    import datasets
    import torch


@dataclass(frozen=True)
class FeatureModel:
    """A model whose features are taken.

    Attributes:
        name: As it was given.
        transform: Of a PIL image to its input.
        features: Pixels (B, 3, H, W) to (B, D).
        model: In evaluation mode.
    """

    name: str
    transform: Transform
    features: Callable[[torch.Tensor], torch.Tensor]
    model: torch.nn.Module


def load_features(name: str) -> FeatureModel:
    """Load a run, a model of the Hub, or a pretrained model of timm.

    Args:
        name: Run folder, `hf-hub:ORG/NAME`, or timm's name of a model with pretrained weights.

    Raises:
        UserError: There is none, or its weights cannot be had.
    """
    if Path(name).exists() or is_hub_id(name):
        checkpoint = load_checkpoint(name)
        model: Any = checkpoint.model
        preprocessing = checkpoint.preprocessing
    else:
        model, preprocessing = _pretrained(name)
    if not hasattr(model, "forward_head"):
        raise UserError(f"--model {name}: tells no features apart from its outputs; choose another")

    def features(pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model.forward_head(model.forward_features(pixels), pre_logits=True)
        return found

    return FeatureModel(name, make_transform(preprocessing), features, model)


def _pretrained(name: str) -> tuple[Any, Preprocessing]:
    import timm
    from timm.data.config import resolve_model_data_config

    try:
        model = timm.create_model(name, pretrained=True).eval()
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(
            f"--model {name}: no folder, and timm has no such weights at hand ({reason}); give a "
            "run of `train`, which needs no network, or a pretrained model and the network"
        ) from None
    config = resolve_model_data_config(model)
    return model, Preprocessing(**{key: config[key] for key in Preprocessing.model_fields})


def extract(
    model: FeatureModel,
    dataset: datasets.Dataset,
    rows: NDArray[np.int64],
    *,
    image_column: str,
    image_folder: Path | None = None,
    batch_size: int,
    threads: int,
) -> NDArray[np.float64]:
    """Return the features of some rows, in their order: shape (len(rows), D).

    Raises:
        UserError: A picture is missing or cannot be decoded.
    """
    import torch

    set_precision(threads)
    device = this_process().device
    net = model.model.to(device)
    chosen = dataset.select(rows)
    batches = [
        list(range(start, min(start + batch_size, len(rows))))
        for start in range(0, len(rows), batch_size)
    ]
    parts: list[NDArray[np.float64]] = []
    pictures = prepared(
        chosen,
        batches,
        image_column=image_column,
        transform=model.transform,
        image_folder=image_folder,
    )
    bar = progress(len(rows), unit="image", description="features")
    net.eval()
    with torch.inference_mode(), bar:
        for pixels, digests in pictures:
            found = model.features(pad(pixels, batch_size).to(device))[: len(digests)]
            parts.append(found.flatten(1).double().cpu().numpy())
            bar.update(len(digests))
    return np.concatenate(parts)
