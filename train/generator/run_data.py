"""A run's photographs of its focus classes, for judging what the run's generator draws."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.generator.data import Collection, load_collection, load_held_out
from train.generator.drawing import Drawn
from train.generator.filters import apply_filter
from train.generator.probe import shrink
from train.generator.run_config import load_config_of


@dataclass(frozen=True)
class RunPhotos:
    """Photographs of the focus classes.

    Attributes:
        names: The focus classes, in label order.
        filters: Domains that the run's filters made of photographs.
        collection: Everything the run learnt from.
        rows: Numbers of the unfiltered photographs of focus classes, in the collection.
        labels: What those show, by number in `names`.
        folder: Of the run's data.
    """

    names: tuple[str, ...]
    filters: tuple[str, ...]
    collection: Collection
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    folder: Path

    def training(self, count: int) -> Drawn:
        """Return up to `count` of the training photographs at 32 pixels."""
        chosen = np.random.default_rng(0).permutation(len(self.rows))[:count]
        chosen = np.sort(chosen)
        images = shrink(np.asarray(self.collection.images[self.rows[chosen]]))
        return Drawn(images, self.labels[chosen])

    def held_out(self, *, filtered: str | None = None) -> Drawn:
        """Return the photographs that training never saw, at 32 pixels.

        Args:
            filtered: A domain that a filter first makes of them, as of training's photographs.
        """
        found = load_held_out(self.folder)
        assert found is not None, "a run with focus classes that are probed holds some out"
        images, classes = found
        if filtered:
            rng = np.random.default_rng(0)
            images = np.stack([apply_filter(filtered, image, rng) for image in images])
        labels = np.array([self.names.index(str(name)) for name in classes], np.int64)
        return Drawn(shrink(images), labels)


def open_run_photos(run: Path) -> RunPhotos | None:
    """Open the photographs of a run's first source that holds some out; None without one.

    Raises:
        UserError: It is not a run folder.
    """
    config = load_config_of(run)
    probed = [i for i, one in enumerate(config.data.sources) if one.focus and one.held_out]
    folder = run / "data"
    if not probed or load_held_out(folder) is None:
        return None
    source = config.data.sources[probed[0]]
    collection = load_collection(config.data, folder)
    rows = [
        i
        for i, known in enumerate(collection.facts)
        if known["source"] == str(probed[0])
        and "focus" in known
        and "filter" not in known
        and known.get("domain", "photo") == "photo"
    ]
    labels = [source.focus.index(collection.facts[i]["focus"]) for i in rows]
    return RunPhotos(
        source.focus,
        tuple(source.filters),
        collection,
        np.array(rows, np.int64),
        np.array(labels, np.int64),
        folder,
    )
