"""Class margin: how much more an image looks like its own class than like the nearest other one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError
from factory.common.text import some
from factory.data.class_names import find_names
from factory.data.columns import LABEL
from factory.gates.base import ConfigRows, image_of
from factory.gates.run_models import is_run, load_run
from factory.models.clip import load_clip
from factory.shards.manifest import GateEntry
from factory.shards.parquet import Row

if TYPE_CHECKING:
    import torch

COLUMN = "class_margin"
NEAREST = "nearest_other_class"
_OPTION = "--class-margin"
_PROMPT = "a photo of a {}"


@dataclass(frozen=True)
class _Scorer:
    """A model that scores an image for each class.

    Attributes:
        pixels: Function from a PIL image to the model's input, shape (3, height, width).
        scores: Function from inputs, shape (B, 3, height, width), to scores, shape (B, classes).
        method: Description for the manifest.
        revision: Hub commit, or hash of the files.
    """

    pixels: Callable[[Any], torch.Tensor]
    scores: Callable[[torch.Tensor], torch.Tensor]
    method: str
    revision: str


class ClassMargin:
    """Compares each image's own class with the others, by a trained run or a CLIP model."""

    name = "class_margin"
    remembers = False

    def __init__(self, model: str, labels: Sequence[str], *, device: str, batch_size: int) -> None:
        """Load the model.

        Args:
            model: Run folder with the dataset's classes, or a CLIP or SigLIP model, directory or
                Hub id.
            labels: Class names of the dataset, by label.
            device: Device of the model.
            batch_size: Images per batch.

        Raises:
            UserError: It cannot be loaded, or lacks a class; or there is only one class.
        """
        if len(labels) < 2:
            raise UserError(f"{_OPTION}: the dataset has a single class, and a margin needs two")
        load = _run if is_run(model) else _clip
        self._scorer = load(model, labels, device)
        self._model, self._labels = model, labels
        self._device, self._batch_size = device, batch_size
        self._measured = self._below = 0

    def entry(self) -> GateEntry:
        """Return columns and model."""
        return GateEntry(
            columns={COLUMN: "float32", NEAREST: "string"},
            method=self._scorer.method,
            model=self._model,
            revision=self._scorer.revision,
        )

    def begin(self, config: str, rows: ConfigRows) -> None:
        """Do nothing: images are independent."""

    def measure(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return each row's margin and the nearest other class."""
        import torch

        found: list[dict[str, Any]] = []
        with torch.inference_mode():
            for start in range(0, len(rows), self._batch_size):
                batch = rows[start : start + self._batch_size]
                pixels = torch.stack([self._scorer.pixels(image_of(row)) for row in batch])
                scores = self._scorer.scores(pixels.to(self._device)).float().cpu()
                own = torch.tensor([row[LABEL] for row in batch])[:, None]
                others = scores.scatter(1, own, -torch.inf)
                nearest = others.argmax(dim=1)
                margins = (scores.gather(1, own) - others.gather(1, nearest[:, None]))[:, 0]
                found += [
                    {COLUMN: margin, NEAREST: self._labels[place]}
                    for margin, place in zip(margins.tolist(), nearest.tolist(), strict=True)
                ]
        self._measured += len(found)
        self._below += sum(one[COLUMN] <= 0 for one in found)
        return found

    def notes(self) -> list[str]:
        """Return the number of images that look more like another class."""
        if not self._below:
            return []
        return [
            f"{self._below:,} of {self._measured:,} measured images look at least as much like "
            f"another class ({COLUMN} of 0 or less); filter them with '{COLUMN} > 0'"
        ]


def _run(model: str, labels: Sequence[str], device: str) -> _Scorer:
    run = load_run(model, device)
    outputs = _outputs(run.names, labels, model)
    return _Scorer(
        run.pixels,
        lambda batch: run.network(batch)[:, outputs],
        "logit of the own class minus the highest logit of another class",
        run.revision,
    )


def _outputs(names: Sequence[str], labels: Sequence[str], model: str) -> list[int]:
    """Return the model's output for each class of the dataset."""
    found, _ = find_names(labels, names, present=range(len(labels)))
    missing = [label for label, place in zip(labels, found, strict=True) if place is None]
    if missing:
        raise UserError(
            f"{_OPTION} {model}: has no class for {some(missing)} of the dataset (it has "
            f"{some(names) or 'no class names'}); choose a run on the same classes, or a CLIP model"
        )
    return [place for place in found if place is not None]


def _clip(model: str, labels: Sequence[str], device: str) -> _Scorer:
    clip = load_clip(model, option=_OPTION)
    clip.model.to(device)
    texts = clip.embed_texts([_PROMPT.format(label.replace("_", " ")) for label in labels])
    return _Scorer(
        clip.pixels,
        lambda batch: clip.embed_images(batch) @ texts.T,
        f"cosine similarity with {_PROMPT.format('CLASS')}: own class minus nearest other class",
        clip.revision,
    )
