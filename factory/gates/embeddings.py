"""Embeddings of the images of a config, for gates that compare images with each other.

A model turns each image into a vector: a run of `train` into the features before its last layer, a
CLIP or SigLIP model into its image embedding. All vectors of a config are in a temporary file that
is mapped into memory, so that the number of images is not limited by it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from factory.common import console
from factory.common.errors import UserError
from factory.data.columns import INDEX, LABEL
from factory.gates.base import ConfigRows, image_of
from factory.gates.run_models import is_run, load_run
from factory.models.clip import load_clip
from factory.shards.parquet import Row

if TYPE_CHECKING:
    import torch

_OPTION = "--embedding"
Vectors = NDArray[np.float32]


class Embeddings:
    """Unit vectors of a config's images; shared by gates, so that a model sees each image once.

    Attributes:
        model: Name of the model as given.
        revision: Hub commit, or hash of its files.
        method: Description for the manifest.
        device: Device of the model.
        vectors: Unit vectors in the order of the rows, shape (images, D); zeros for an image
            without features.
        labels: Their labels, shape (images,).
        indexes: Their indexes in the config, shape (images,).
    """

    vectors: Vectors
    labels: NDArray[np.int64]
    indexes: NDArray[np.int64]

    def __init__(self, model: str, *, device: str, batch_size: int) -> None:
        """Load the model.

        Args:
            model: Run folder of `train`, or a CLIP or SigLIP model, directory or Hub id.
            device: Device of the model.
            batch_size: Images per batch.

        Raises:
            UserError: It cannot be loaded, or its features cannot be separated from its last layer.
        """
        load = _run if is_run(model) else _clip
        self._pixels, self._embed, self.method, self.revision = load(model, device)
        self.model, self.device, self._batch_size = model, device, batch_size
        self._config: str | None = None

    def read(self, config: str, rows: ConfigRows) -> None:
        """Embed the images of a config, unless they are the latest ones.

        Raises:
            UserError: The model has no finite features for an image.
        """
        if config == self._config:
            return
        self._config = None
        keys: list[tuple[int, int]] = []
        bar = console.progress(rows.count, unit="image", description=f"embed {config}")
        with bar, tempfile.TemporaryFile() as file:
            waiting = iter(rows)
            while batch := list(islice(waiting, self._batch_size)):
                file.write(self._vectors(batch).tobytes())
                keys += [(int(row[LABEL]), int(row[INDEX])) for row in batch]
                bar.update(len(batch))
            self.vectors = _mapped(file, len(keys))
        self.labels, self.indexes = np.array(keys, np.int64).reshape(-1, 2).T
        self._config = config

    def _vectors(self, rows: Sequence[Row]) -> Vectors:
        """Return the unit vectors of some images, shape (images, D)."""
        import torch

        with torch.inference_mode():
            pixels = torch.stack([self._pixels(image_of(row)) for row in rows])
            # Batches of one size: the last digits of a vector do not depend on later images.
            padding = pixels.new_zeros(self._batch_size - len(rows), *pixels.shape[1:])
            batch = torch.cat([pixels, padding]).to(self.device)
            found = self._embed(batch).float()[: len(rows)]
            unit = torch.nn.functional.normalize(found.flatten(1)).cpu().numpy()
        odd = np.flatnonzero(~np.isfinite(unit).all(axis=1))
        if len(odd):
            raise UserError(
                f"{_OPTION} {self.model}: its features of image {rows[odd[0]][INDEX]} are not "
                "finite; choose another model"
            )
        return np.ascontiguousarray(unit, np.float32)


def _mapped(file: IO[bytes], count: int) -> Vectors:
    """Map the vectors of a file into memory."""
    file.flush()
    size = file.tell()
    if not count:
        return np.empty((0, 1), np.float32)
    # The mapping keeps the content of the file after it is closed.
    return np.memmap(file, np.float32, mode="r", shape=(count, size // 4 // count))


_Loaded = tuple[Callable[[Any], Any], Callable[[Any], Any], str, str]
"""Functions from an image to pixels and from pixels to embeddings; method and revision."""


def _run(model: str, device: str) -> _Loaded:
    run = load_run(model, device)
    if not hasattr(run.network, "forward_head"):
        raise UserError(
            f"{_OPTION} {model}: has no `forward_head`, so its features cannot be separated from "
            "its last layer; choose another model"
        )

    def features(pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = run.network.forward_head(
            run.network.forward_features(pixels), pre_logits=True
        )
        return found

    return run.pixels, features, "features before the last layer", run.revision


def _clip(model: str, device: str) -> _Loaded:
    clip = load_clip(model, option=_OPTION)
    clip.model.to(device)
    return clip.pixels, clip.embed_images, "image embeddings", clip.revision


def blocks(count: int, size: int) -> Iterator[slice]:
    """Return slices of at most `size` that cover `count` places."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
