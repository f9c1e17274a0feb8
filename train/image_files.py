"""Images that are read from their files in each epoch, for datasets larger than the memory.

Random crops are taken from the original image, at its own resolution. Which pixels a batch has
depends on seed, epoch and image alone, not on the number of workers.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from factory.common.console import progress
from factory.common.errors import UserError
from factory.common.resources import cores_per_process
from factory.common.row_images import image_sha256, read_hashed, skipping_advised
from factory.data.open import OpenedDataset
from factory.data.pixels import border_colour, fitted, resized
from factory.data.row_subsets import check_labels
from train.augment import NUM_DRAWS
from train.crops import crop_box, crops
from train.data import LabelledPixels
from train.mixing import translated
from train.pixel_store import Batch, PixelsInMemory, PixelStore
from train.settings import Hyperparameters
from train.streaming import Cell, Cells, StreamedCells, stream_of
from train.uniforms import uniforms

if TYPE_CHECKING:
    from pathlib import Path

    from torch.utils.data import DataLoader

    from factory.data.label_map import LabelMap

_CHUNK = 64
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class LabelledFiles:
    """Datasets whose images stay encoded; `train.data.LabelledPixels` holds them decoded.

    Attributes:
        opened: The datasets, in the order of their rows.
        labels: Shape (N,), int64, from 0.
        label_names: Class names in label order, of the first dataset.
        sha256: Hash of labels and encoded images.
        sizes: Images of each dataset, if there are several.
        digests: Hash of each encoded image; empty of a stream.
        parts: Part of each image of a stream, shape (N,); see `factory.data.image_stream`.
    """

    opened: tuple[OpenedDataset, ...]
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    sha256: str
    sizes: tuple[int, ...]
    digests: list[bytes]
    parts: NDArray[np.int64] | None = None


def load_files(
    opened: Sequence[OpenedDataset], label_map: LabelMap | None = None, *, shows: bool
) -> LabelledFiles:
    """Read the labels of datasets, and hash their encoded images.

    Raises:
        UserError: A label or image is missing, or a dataset has other classes than the first.
    """
    first = opened[0]
    labels = [check_labels(first)]
    for one in opened[1:]:
        own = check_labels(one)
        labels.append(translated(own, opened=one, first=first, label_map=label_map))
    digests = [digest for one in opened for digest in _digests(one, shows=shows)]
    joined = np.concatenate(labels)
    whole = hashlib.sha256(joined.tobytes())
    for digest in digests:
        whole.update(digest)
    sizes = tuple(len(one.dataset) for one in opened)
    return LabelledFiles(
        opened=tuple(opened),
        labels=joined,
        label_names=tuple(first.label_names),
        sha256=whole.hexdigest(),
        sizes=sizes if len(sizes) > 1 else (),
        digests=digests,
    )


def load_stream(opened: OpenedDataset) -> LabelledFiles:
    """Read the labels of a dataset whose images are streamed.

    Raises:
        UserError: A label is missing.
    """
    labels = check_labels(opened)
    stream, numbers = stream_of(opened)
    whole = hashlib.sha256(labels.tobytes())
    whole.update(numbers.tobytes() + stream.sha256.encode())
    return LabelledFiles(
        opened=(opened,),
        labels=labels,
        label_names=tuple(opened.label_names),
        sha256=whole.hexdigest(),
        sizes=(),
        digests=[],
        parts=stream.part_of(numbers),
    )


def _digests(opened: OpenedDataset, *, shows: bool) -> list[bytes]:
    rows = _Rows(opened)
    count = len(opened.dataset)

    def hashed(start: int) -> list[bytes]:
        with skipping_advised():
            return [
                image_sha256(item, where=where, folder=opened.image_folder)
                for item, where in rows.items(range(start, min(start + _CHUNK, count)))
            ]

    found: list[bytes] = []
    bar = progress(count, unit="image", description="hashing files", show=shows)
    with ThreadPoolExecutor(cores_per_process()) as pool, bar:
        for part in pool.map(hashed, range(0, count, _CHUNK)):
            found += part
            bar.update(len(part))
    return found


class _Rows:
    """The encoded images of a dataset."""

    def __init__(self, opened: OpenedDataset) -> None:
        import datasets as hf

        column = opened.image_column
        self._column, self._numbers = column, opened.row_numbers
        self._dataset = opened.dataset.select_columns([column]).cast_column(
            column, hf.Image(decode=False)
        )

    def items(self, rows: Sequence[int]) -> Iterator[tuple[Any, str]]:
        """Yield the cells of some rows, each with its place for messages."""
        for row, item in zip(rows, self._dataset[list(rows)][self._column], strict=True):
            yield item, f"row {row if self._numbers is None else self._numbers[row]}"


class _Reader(torch.utils.data.Dataset[Any]):
    """Reads the pixels of batches, in a worker; cells of a stream come with the rows."""

    def __init__(
        self, data: LabelledFiles, values: Hyperparameters, *, seed: int, epoch: int | None
    ) -> None:
        self._rows = [_Rows(one) for one in data.opened if one.stream is None]
        self._folders = [one.image_folder for one in data.opened]
        self._ends = np.cumsum([len(one.dataset) for one in data.opened])
        self._values, self._seed, self._epoch = values, seed, epoch

    def __getitem__(self, batch: tuple[Rows, Cells | None]) -> NDArray[np.uint8] | UserError:
        """Return the pixels of a batch, (B, S, S, 3), or what is wrong with an image."""
        rows, cells = batch
        draws: Iterable[Any] = [None] * len(rows)
        if self._epoch is not None:
            draws = uniforms(rows, seed=self._seed, epoch=self._epoch, num_draws=NUM_DRAWS)
        try:
            with skipping_advised():
                found = self._cells(rows % self._ends[-1]) if cells is None else cells
                pairs = zip(found, draws, strict=True)
                return np.stack([self._pixels(*cell, drawn) for cell, drawn in pairs])
        except UserError as error:
            # A worker's exception would arrive with a traceback.
            return error

    def _cells(self, rows: Rows) -> Iterator[Cell]:
        for row in rows.tolist():
            number = int(np.searchsorted(self._ends, row, side="right"))
            row -= int(self._ends[number - 1]) if number else 0
            ((item, where),) = self._rows[number].items([row])
            yield item, where, self._folders[number]

    def _pixels(
        self, item: Any, where: str, folder: Path | None, draws: NDArray[np.float32] | None
    ) -> NDArray[np.uint8]:
        values, side = self._values, self._values.image_size
        assert side is not None and values.mean is not None, "resolved with the model"
        cropped = draws is not None and crops(values.augmentation)
        image, _ = read_hashed(item, where=where, folder=folder, side=None if cropped else side)
        colour = border_colour(values.mean)
        if not cropped or draws is None:
            return resized(
                fitted(image, 1.0, values.fit, colour=colour), (side, side), values.resample
            )
        if values.fit == "pad":
            image = fitted(image, 1.0, "pad", colour=colour)
        shape = (1.0, 1.0) if values.fit == "squash" else (float(image.width), float(image.height))
        box = crop_box(draws, values.augmentation, *shape)
        if values.fit == "squash":
            width, height = image.size
            box = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
        resample = Image.Resampling[values.resample.upper()]
        return np.asarray(image.resize((side, side), resample, box=box), dtype=np.uint8)


class PixelsFromFiles:
    """The images of a run, read by workers, handed out by rows."""

    def __init__(
        self,
        data: LabelledFiles,
        values: Hyperparameters,
        *,
        seed: int,
        device: torch.device,
        workers: int,
    ) -> None:
        """Remember the data; `workers` 0 reads in this process."""
        self._data, self._values, self._seed = data, values, seed
        self._device, self._workers = device, workers
        self._labels = torch.from_numpy(data.labels)
        self._stream = StreamedCells(data.opened[0]) if data.parts is not None else None

    def batches(
        self, rows: Iterable[NDArray[np.int64]], *, epoch: int | None = None
    ) -> Iterator[Batch]:
        """Yield batches of some rows; with an epoch, cropped at random."""
        parts = list(rows)
        cells: Iterable[Cells | None] = [None] * len(parts)
        if self._stream is not None:
            plain = [part % len(self._labels) for part in parts]
            cells = self._stream.cells(plain, keep=epoch is None)
        read = self._loader(zip(parts, cells, strict=True), epoch=epoch)
        for part, pixels in zip(parts, read, strict=True):
            if isinstance(pixels, UserError):
                raise pixels
            labels = self._labels[torch.from_numpy(part % len(self._labels))]
            yield Batch(part, pixels, labels.to(self._device, non_blocking=True))

    def _loader(
        self, batches: Iterable[tuple[Rows, Cells | None]], *, epoch: int | None
    ) -> DataLoader[Any]:
        from torch.utils.data import DataLoader

        return DataLoader(
            _Reader(self._data, self._values, seed=self._seed, epoch=epoch),
            sampler=batches,
            batch_size=None,
            num_workers=self._workers,
            worker_init_fn=_leave_signals,
            pin_memory=self._device.type == "cuda",
            # Of its own: dropout samples from the global one.
            generator=torch.Generator(),
        )


def make_store(
    data: LabelledPixels | LabelledFiles,
    values: Hyperparameters,
    *,
    seed: int,
    device: torch.device,
    workers: int,
) -> PixelStore:
    """Return the source of a run's images; see `PixelsFromFiles`."""
    if isinstance(data, LabelledFiles):
        return PixelsFromFiles(data, values, seed=seed, device=device, workers=workers)
    return PixelsInMemory(data, device)


def _leave_signals(_: int) -> None:
    """Leave Ctrl-C to the main process, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
