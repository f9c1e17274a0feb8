"""t-SNE of real and synthetic images, in the features of a run or in plain pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval.report_page import text
from eval.report_page.dataset import Dataset, shrunk
from eval.report_page.runs import Runs
from eval.report_page.thumbnails import Sprite, sprite
from factory.common.errors import UserError
from factory.common.row_images import read_image
from factory.data.class_names import find_names
from factory.models.model_folder import WEIGHTS

if TYPE_CHECKING:
    from PIL.Image import Image

    from eval.real import RealImages

MOST_REAL, MOST_SYNTHETIC, LEAST = 400, 800, 20
MOST_CONFIGS = 24
_PIXELS = 16
_BATCH = 64
# Enough for the models' input sizes; larger images would fill the memory.
_SIDE = 256
REAL = "real"
WIDTH, HEIGHT = 760, 560


@dataclass(frozen=True)
class Dot:
    """One image; `origin`, `config` and `label` are numbers of the legends."""

    x: float
    y: float
    origin: int
    config: int
    label: int


@dataclass(frozen=True)
class Space:
    """The plot.

    Attributes:
        features: Name of the space.
        dots: Real images first.
        origins: Legend of origins, with counts.
        configs: Legend of configs; real images are one of them.
        labels: Legend of classes.
        sprite: Small images of the dots, in their order.
        note: What limits the plot.
    """

    features: str
    dots: list[Dot]
    origins: list[str]
    configs: list[str]
    labels: list[str]
    sprite: Sprite
    note: str


@dataclass(frozen=True)
class _Sample:
    images: list[Image]
    labels: list[int]
    config: str


def space(
    dataset: Dataset, runs: Runs, *, real: RealImages | None, model: str | None
) -> Space | None:
    """Return the plot; None with fewer than 20 images.

    Args:
        dataset: The synthetic images.
        runs: The smallest model among them represents the images, unless `model` is given.
        real: The real images; None: only synthetic images are shown.
        model: A model as `data-factory gap --model` takes it.

    Raises:
        UserError: The model cannot be loaded, or an image cannot be read.
    """
    samples = [_real(real, dataset)] if real else []
    samples += _synthetic(dataset)
    images = [image for one in samples for image in one.images]
    if len(images) < LEAST:
        return None
    from eval.tsne import embed

    found, named = _represented(images, model or _smallest(runs, dataset))
    places = embed(found)
    configs = [one.config for one in samples]
    numbers = [
        (int(one.config != REAL), place, label)
        for place, one in enumerate(samples)
        for label in one.labels
    ]
    return Space(
        features=named,
        dots=_dots(places, numbers),
        origins=[REAL, "synthetic"],
        configs=configs,
        labels=[*dataset.labels, "other"],
        sprite=sprite(images),
        note=_note(dataset, real),
    )


def _note(dataset: Dataset, real: RealImages | None) -> str:
    parts = [] if real else ["Give --real to compare with real images."]
    if len(_own(dataset)) > MOST_CONFIGS:
        parts.append(f"Only the first {MOST_CONFIGS} configs are shown.")
    return " ".join(parts)


def _own(dataset: Dataset) -> list[str]:
    """Return the configs with images of their own; combinations repeat those of others."""
    configs = dataset.manifest.configs
    return [name for name in dataset.stored if configs[name].kind == "set"] or dataset.stored


def _real(real: RealImages, dataset: Dataset) -> _Sample:
    opened = real.opened
    rng = np.random.default_rng(0)
    places = np.sort(rng.permutation(len(real.labels))[:MOST_REAL])
    known, _ = find_names(
        opened.label_names, dataset.labels, present=list(range(len(opened.label_names)))
    )
    other = len(dataset.labels)
    labels = [known[int(real.labels[place])] for place in places]
    images = [
        shrunk(
            read_image(
                opened.dataset[int(place)][opened.image_column],
                where=f"{opened.shown}: row {place}",
                folder=opened.image_folder,
            ),
            _SIDE,
        )
        for place in places
    ]
    return _Sample(images, [other if one is None else one for one in labels], REAL)


def _synthetic(dataset: Dataset) -> list[_Sample]:
    """Return the first images of each config: rows alternate between classes."""
    shown = _own(dataset)[:MOST_CONFIGS]
    found = []
    for config in shown:
        labels = dataset.values(config, "label")
        places = range(min(len(labels), max(MOST_SYNTHETIC // len(shown), 1)))
        images = dataset.images(config, places, side=_SIDE)
        known = [labels[place] if isinstance(labels[place], int) else -1 for place in places]
        limit = len(dataset.labels)
        inside = [one if 0 <= one < limit else limit for one in known]
        found.append(_Sample([images[place] for place in places], inside, config))
    return found


def _smallest(runs: Runs, dataset: Dataset) -> str | None:
    """Return the run with the fewest parameters that has its weights; the most accurate of them.

    Runs on the dataset's configs are preferred to others.
    """
    with_weights = [
        run
        for run in runs.scored
        if run.scores.zero_shot is None and (run.folder / WEIGHTS).is_file()
    ]
    best = min(
        with_weights,
        key=lambda run: (
            run.row not in dataset.names,
            run.scores.model.num_parameters,
            -run.scores.metrics.top1,
            str(run.file),
        ),
        default=None,
    )
    return None if best is None else str(best.folder)


def _represented(images: Sequence[Image], model: str | None) -> tuple[NDArray[np.float64], str]:
    if model is None:
        return _pixels(images), f"pixels at {_PIXELS} x {_PIXELS}; no run was given"
    from eval.features import load_features

    loaded = load_features(model)
    return _features(images, loaded), f"features of {_shown(model)}"


def _shown(model: str) -> str:
    path = Path(model)
    return text.name("/".join(path.parts[-2:]) if path.is_dir() else model)


def _pixels(images: Sequence[Image]) -> NDArray[np.float64]:
    small = [np.asarray(image.resize((_PIXELS, _PIXELS)), dtype=np.float64) for image in images]
    return np.stack(small).reshape(len(images), -1)


def _features(images: Sequence[Image], model: Any) -> NDArray[np.float64]:
    """Return the features before the head, shape (images, D)."""
    import torch

    from eval.fit import make_transform

    transform = make_transform(model.preprocessing).apply
    represent = model.representation("features")
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            pixels = torch.stack([transform(image) for image in images[start : start + _BATCH]])
            parts.append(represent(pixels).flatten(1).double().numpy())
    found = np.concatenate(parts)
    if not np.isfinite(found).all() or not np.ptp(found, axis=0).any():
        raise UserError(
            f"--model {model.name}: its features are not finite, or the same for every image; "
            "use another model"
        )
    return found


def _dots(places: NDArray[np.float64], numbers: Sequence[tuple[int, int, int]]) -> list[Dot]:
    low, high = places.min(axis=0), places.max(axis=0)
    span = np.where(high > low, high - low, 1)
    unit = (places - low) / span
    return [
        Dot(round(12 + x * (WIDTH - 24), 1), round(12 + y * (HEIGHT - 24), 1), *number)
        for (x, y), number in zip(unit.tolist(), numbers, strict=True)
    ]
