"""Check for memorisation: generated images and their nearest training photographs.

Distances of generated images to their nearest training photograph are compared with those of
held-out photographs: memorised images would be closer.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from train.generator.evaluation.run_data import RunPhotos
from train.generator.network.sampling import LabelledImages
from train.generator.network.sheets import save_grid
from train.generator.probe.judges import as_input, shrink

Floats = NDArray[Any]

THUMBNAIL = 16
SHOWN = 10
CLOSE = 0.01


def check_memorisation(
    generated: LabelledImages, photos: RunPhotos, judge: nn.Module, *, sheet: Path
) -> dict[str, Any]:
    """Measure distances of generated images to training photographs, and show the nearest pairs.

    Args:
        generated: Generated images at 32 pixels.
        photos: The run's photographs, and their mirror images if it was trained on them.
        judge: A classifier of 32-pixel images; its penultimate layer gives the features.
        sheet: Output image: columns are the generated images with the smallest distances; rows are
            the generated one, its nearest by pixels, its nearest by features.

    Returns:
        For each type of distance the medians, and the share of generated images that are closer
        than all but `CLOSE` of the held-out photographs.
    """
    training = _thumbnails(photos)
    held_out = photos.held_out()
    figures: dict[str, Any] = {
        "generated": len(generated.images),
        "training": len(training),
        "copies": "mirrored" if photos.is_mirrored else "",
    }
    nearest: list[NDArray[np.int64]] = []
    order: NDArray[np.int64] | None = None
    for kind in ("pixels", "features"):
        space = _Space(kind, judge)
        known = space.of(training)
        distance, place = _nearest(space.of(generated.images), known)
        reference, _ = _nearest(space.of(held_out.images), known)
        limit = float(np.quantile(reference, CLOSE))
        figures[kind] = {
            "median_generated": round(float(np.median(distance)), 4),
            "median_held_out": round(float(np.median(reference)), 4),
            "closer_than_all_but_1_percent": round(float((distance < limit).mean()), 4),
        }
        nearest.append(place)
        if order is None:
            order = np.argsort(distance)[:SHOWN]
    assert order is not None
    rows = [generated.images[order], *(training[place[order]] for place in nearest)]
    save_grid(np.concatenate(rows), sheet, columns=SHOWN, zoom=3)
    return figures


def _thumbnails(photos: RunPhotos) -> NDArray[np.uint8]:
    """Return all training photographs of the focus classes at 32 pixels."""
    rows = photos.rows
    parts = np.array_split(rows, max(1, len(rows) // 4_000))
    return np.concatenate([shrink(np.asarray(photos.collection.images[part])) for part in parts])


class _Space:
    """Space in which distances are measured."""

    def __init__(self, kind: str, judge: nn.Module) -> None:
        self._kind = kind
        self._features = nn.Sequential(*list(judge.children())[:-1]).eval()

    @torch.no_grad()
    def of(self, images: NDArray[np.uint8]) -> Floats:
        """Return one row per image."""
        if self._kind == "pixels":
            small = shrink(images, size=THUMBNAIL).reshape(len(images), -1)
            pixels: Floats = small.astype(np.float32) / 255
            return pixels
        parts = torch.split(as_input(images), 500)
        found = torch.cat([self._features(part).flatten(1) for part in parts])
        features: Floats = functional.normalize(found).numpy()
        return features


def _nearest(points: Floats, known: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Return each point's root mean square distance to its nearest known point, and its index."""
    squares = (known**2).sum(1)
    distances, places = [], []
    for part in np.array_split(points, max(1, len(points) // 100)):
        square = (part**2).sum(1)[:, None] + squares - 2 * part @ known.T
        place = square.argmin(1)
        places.append(place)
        distances.append(np.sqrt(np.maximum(square[np.arange(len(part)), place], 0)))
    scale = np.float32(np.sqrt(points.shape[1]))
    return np.concatenate(distances) / scale, np.concatenate(places)
