"""A run's photographs of its focus classes, for evaluating its generated images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.generator.images.data import Collection, load_collection, load_held_out
from train.generator.images.filters import apply_filter
from train.generator.images.rows import Images
from train.generator.network.sampling import LabelledImages
from train.generator.probe.judges import shrink
from train.generator.training.run_config import load_config_of


@dataclass(frozen=True)
class RunPhotos:
    """Photographs of the focus classes.

    Attributes:
        names: The focus classes, in label order.
        filters: Domains of the run's filters.
        collection: All training images of the run.
        rows: Indexes of unfiltered photographs of focus classes in the collection.
        labels: Their classes, as indexes of `names`.
        folder: Folder of the run's data.
        is_mirrored: Whether the rows contain a mirrored copy of every photograph.
    """

    names: tuple[str, ...]
    filters: tuple[str, ...]
    collection: Collection
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    folder: Path
    is_mirrored: bool

    def training(self, count: int, *, filters: Sequence[str] = ()) -> LabelledImages:
        """Return up to `count` of the training photographs at 32 pixels.

        Args:
            count: Maximum number.
            filters: Each photograph is filtered with one of these domains at random.
        """
        chosen = np.random.default_rng(0).permutation(len(self.rows))[:count]
        chosen = np.sort(chosen)
        images = np.asarray(self.collection.images[self.rows[chosen]])
        return LabelledImages(shrink(_filtered(images, filters)), self.labels[chosen])

    def held_out(self, *, filters: Sequence[str] = ()) -> LabelledImages:
        """Return the held-out photographs at 32 pixels; `filters` as for `training`."""
        found = load_held_out(self.folder)
        assert found is not None, "a run with focus classes that are probed holds some out"
        images, classes = found
        labels = np.array([self.names.index(str(name)) for name in classes], np.int64)
        return LabelledImages(shrink(_filtered(images, filters)), labels)


def _filtered(images: Images, filters: Sequence[str]) -> Images:
    if not filters:
        return images
    rng = np.random.default_rng(0)
    names = [filters[int(rng.integers(len(filters)))] for _ in images]
    made = [apply_filter(name, image, rng) for name, image in zip(names, images, strict=True)]
    return np.stack(made)


def open_run_photos(run: Path) -> RunPhotos | None:
    """Open the photographs of a run's first source with held-out ones; None without such a source.

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
        source.mirror,
    )
