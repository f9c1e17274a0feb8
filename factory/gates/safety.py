"""Flag images that a model classifies as unsafe; images are not changed."""

import logging
from collections.abc import Sequence
from typing import Any

from factory.common.errors import UserError
from factory.gates.base import ConfigRows, image_of
from factory.models.clip import (
    only_data,
    reading,
    revision_of,
    split_revision,
)
from factory.shards.manifest import GateEntry
from factory.shards.parquet import Row

FLAG = "unsafe"
SCORE = "unsafe_score"
THRESHOLD = 0.5
_CHECKER = "StableDiffusionSafetyChecker"
_USUAL = ("nsfw", "unsafe", "porn", "hentai", "sexy", "explicit")


class Safety:
    """Flags images with Stable Diffusion's safety checker or any image classifier."""

    name = "safety"
    remembers = False

    def __init__(
        self,
        model: str,
        *,
        device: str,
        batch_size: int,
        labels: Sequence[str] = (),
        threshold: float | None = None,
    ) -> None:
        """Load the model.

        Args:
            model: Hub id or directory.
            device: Device of the model.
            batch_size: Images per batch.
            labels: Unsafe classes of a classifier; default: those with common names.
            threshold: Lowest probability of a classifier at which an image is flagged; default:
                0.5.

        Raises:
            UserError: It cannot be loaded, has no unsafe class, or is a safety checker, which has
                neither classes nor a threshold.
        """
        from transformers import AutoConfig, AutoImageProcessor

        source, revision = split_revision(model)
        options = only_data(revision)
        with reading(model, option="--safety"):
            config = AutoConfig.from_pretrained(source, **options)
            self._processor = AutoImageProcessor.from_pretrained(source, **options)
            self._is_checker = _CHECKER in (config.architectures or ())
            if self._is_checker and (labels or threshold is not None):
                raise UserError(
                    f"--safety {model}: is a safety checker, which decides by itself; remove "
                    "--unsafe-label and --unsafe-threshold, or name an image classifier"
                )
            self._model = _model_class(self._is_checker).from_pretrained(
                source, use_safetensors=True, **options
            )
        self._model = self._model.float().to(device).eval()
        self._name, self._revision = model, revision_of(source, config)
        self._device, self._batch_size = device, batch_size
        self._threshold = THRESHOLD if threshold is None else threshold
        self._unsafe = {} if self._is_checker else _unsafe_classes(model, config, labels)

    def entry(self) -> GateEntry:
        """Return columns, model and threshold."""
        if self._is_checker:
            return GateEntry(
                columns={FLAG: "bool"},
                method="Stable Diffusion's safety checker",
                model=self._name,
                revision=self._revision,
            )
        return GateEntry(
            columns={FLAG: "bool", SCORE: "float32"},
            method=f"probability of {', '.join(self._unsafe)}",
            model=self._name,
            revision=self._revision,
            thresholds={"probability": self._threshold},
        )

    def begin(self, config: str, rows: ConfigRows) -> None:
        """Do nothing: images are independent."""

    def measure(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Flag each row."""
        import torch

        found: list[dict[str, Any]] = []
        with torch.inference_mode():
            for start in range(0, len(rows), self._batch_size):
                batch = [image_of(row) for row in rows[start : start + self._batch_size]]
                pixels = self._processor(images=batch, return_tensors="pt")["pixel_values"]
                found += self._judge(pixels.to(self._device))
        return found

    def _judge(self, pixels: Any) -> list[dict[str, Any]]:
        import numpy as np

        if self._is_checker:
            # It would blacken its input, so it gets an empty image instead of the dataset's.
            blanks = [np.zeros((1, 1, 3)) for _ in pixels]
            with _no_advice():
                _, flags = self._model(clip_input=pixels, images=blanks)
            return [{FLAG: bool(flag)} for flag in flags]
        likely = self._model(pixel_values=pixels).logits.float().softmax(dim=1)
        scores = likely[:, list(self._unsafe.values())].sum(dim=1).tolist()
        return [{FLAG: score >= self._threshold, SCORE: score} for score in scores]

    def notes(self) -> list[str]:
        """Return nothing: images are measured completely."""
        return []


def _model_class(is_checker: bool) -> Any:
    if is_checker:
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

        return StableDiffusionSafetyChecker
    from transformers import AutoModelForImageClassification

    return AutoModelForImageClassification


def _unsafe_classes(model: str, config: Any, labels: Sequence[str]) -> dict[str, int]:
    known = {str(name): int(place) for place, name in config.id2label.items()}
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise UserError(
            f"--unsafe-label {unknown[0]}: unknown class; {model} has: {', '.join(known)}"
        )
    chosen = list(labels) or [name for name in known if name.lower() in _USUAL]
    if not chosen:
        raise UserError(
            f"--safety {model}: none of its classes has a common name for unsafe "
            f"({', '.join(known)}); "
            "name them with --unsafe-label"
        )
    return {name: known[name] for name in chosen}


class _no_advice:
    """Hide the checker's warning that it returns black images; images are not replaced here."""

    def __enter__(self) -> None:
        self._logger = logging.getLogger("diffusers")
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)
