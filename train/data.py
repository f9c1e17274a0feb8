"""Load pixels into memory, hold out images, and order the batches of an epoch.

Images are decoded once. Order and held-out images are functions of the seed, so they are the same
for any number of processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import Failure, UserError
from factory.common.row_images import read_image
from factory.common.text import agree, plural
from factory.data.open import OpenedDataset
from factory.data.pixels import border_colour, decode_images, labelled_sha256, require_space
from factory.data.readable import listing_unreadable
from factory.data.row_counts import class_counts, count_warnings, counts_line, shortened
from factory.data.row_subsets import check_labels
from train.settings import Hyperparameters

if TYPE_CHECKING:
    from accelerate import Accelerator

_ORDER_STREAM = 1


class Labelled(Protocol):
    """Datasets joined: labels (N,), class names, a hash, and the images of each of several.

    `digests` are empty, and `parts` (N,) number what is read together, if images are streamed.
    """

    @property
    def labels(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def label_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def sha256(self) -> str: ...  # noqa: D102
    @property
    def sizes(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def digests(self) -> list[bytes]: ...  # noqa: D102
    @property
    def parts(self) -> NDArray[np.int64] | None: ...  # noqa: D102


@dataclass(frozen=True)
class LabelledPixels:
    """A decoded dataset.

    Attributes:
        pixels: Shape (N, S, S, 3), uint8, RGB.
        labels: Shape (N,), int64, from 0; or of several labels per image 1 for each of them, else
            0, shape (N, classes).
        label_names: Class names in label order.
        sha256: Hash of pixels and labels.
        sizes: Images of each dataset, in order, if there are several.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    sha256: str
    sizes: tuple[int, ...] = ()
    parts: NDArray[np.int64] | None = None

    @property
    def digests(self) -> list[bytes]:
        """A hash of each image."""
        contiguous = (np.ascontiguousarray(one).data for one in self.pixels)
        return [hashlib.blake2b(one, digest_size=16).digest() for one in contiguous]


def report_counts(
    opened: OpenedDataset, *, allow_empty: bool, fit: str, note: Callable[[str], None]
) -> dict[str, int]:
    """Report the number of training images per class.

    Returns:
        Images of each class, by name.

    Raises:
        UserError: A class has no images, or as `check_labels`.
    """
    labels = check_labels(opened)
    counts = class_counts(labels, opened.label_names)
    line = counts_line(opened.shown, counts, opened.left_out, total=len(labels))
    note(f"{line}; images that are not square: {fit}")
    if not allow_empty:
        require_images(counts, opened.shown)
    for warning in count_warnings(counts):
        note(f"warning: {warning}")
    return counts


def require_images(counts: Mapping[str, int], shown: str) -> None:
    """Check that every class has images.

    Raises:
        UserError: A class has none.
    """
    empty = [name for name, count in counts.items() if not count]
    if empty:
        raise UserError(
            f"{shown}: {plural(len(empty), 'class', 'classes')} of {len(counts)} "
            f"{agree(len(empty), 'has', 'have')} no images ({shortened(empty)}); choose "
            "other rows, or keep outputs for classes without images "
            "with --allow-empty-classes"
        )


def first_cell(opened: OpenedDataset) -> tuple[Any, str]:
    """Return the encoded image of the first row, and its place for messages."""
    number = opened.row_numbers[0] if opened.row_numbers else 0
    if opened.stream is not None:
        return opened.stream.cell(number), f"row {number}"
    column = opened.image_column
    return opened.dataset.select_columns([column])[0][column], f"row {number}"


def image_side(opened: OpenedDataset, first: tuple[Any, str], requested: int | None) -> int:
    """Return the training height and width: as requested, or that of the first image.

    Args:
        opened: The dataset.
        first: Its first image, see `first_cell`.
        requested: The size that the user or the preset gives.

    Raises:
        UserError: Without a request, the first image is not square or cannot be read.
    """
    if requested is not None:
        return requested
    cell, where = first
    with listing_unreadable(opened):
        width, height = read_image(cell, where=where, folder=opened.image_folder).size
    if width != height:
        raise UserError(
            f"{opened.reference}: its first image is {width}x{height}, not square; "
            f"use --image-size {min(width, height)}"
        )
    return int(width)


def load_pixels(
    opened: OpenedDataset,
    *,
    values: Hyperparameters,
    accelerator: Accelerator,
    out: Path,
) -> LabelledPixels:
    """Decode every image once per machine, for all its processes.

    Raises:
        UserError: An image cannot be decoded, a label is missing, or there are fewer than two
            classes.
        Failure: The decoding process of this machine failed, or a disk is too small.
    """
    labels = check_labels(opened)
    side, mean = values.image_size, values.mean
    assert side is not None and mean is not None, "both are resolved with the model"

    def decode() -> NDArray[np.uint8]:
        with listing_unreadable(opened):
            return decode_images(
                opened.dataset,
                image_column=opened.image_column,
                image_folder=opened.image_folder,
                row_numbers=opened.row_numbers,
                height=side,
                width=side,
                resample=values.resample,
                fit=values.fit,
                colour=border_colour(mean),
            )

    if accelerator.num_processes == 1:
        pixels = decode()
    else:
        shared = out / f".pixels-{accelerator.process_index - accelerator.local_process_index}.npy"
        try:
            if accelerator.is_local_main_process:
                size = len(labels) * side * side * 3
                require_space(out, size, remedy="choose --out on a disk with more space")
                # Not through a link, in an untrusted folder.
                shared.unlink(missing_ok=True)
                np.save(shared, decode())
        finally:
            accelerator.wait_for_everyone()
        if not shared.exists():
            raise Failure(f"{shared}: the process that decodes images stopped; see its message")
        pixels = np.load(shared, mmap_mode="c")
        accelerator.wait_for_everyone()
        if accelerator.is_local_main_process:
            shared.unlink()
    parts = (pixels[start : start + 4096] for start in range(0, len(pixels), 4096))
    digest = labelled_sha256(labels, parts)
    return LabelledPixels(pixels, labels, tuple(opened.label_names), digest)


def epoch_batches(
    rows: NDArray[np.int64],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    parts: NDArray[np.int64] | None = None,
    shuffle_buffer: int | None = None,
) -> list[NDArray[np.int64]]:
    """Return the global batches of an epoch: every row once, in a new order.

    Sizes differ by at most one and do not exceed `batch_size`, so that no epoch ends in a batch of
    one image, which batch norm cannot handle.

    Args:
        rows: Rows of an epoch; a number may be that of a repeat.
        batch_size: Images per step.
        seed: The run's seed.
        epoch: From 0.
        parts: Part of each row of the dataset, shape (N,), if images are read in parts: parts
            come one after another in random order, and only rows near to each other are shuffled.
        shuffle_buffer: How many rows are shuffled together then.
    """
    rng = np.random.default_rng((_ORDER_STREAM, seed, epoch))
    order = rng.permutation(rows)
    if parts is not None and shuffle_buffer is not None:
        place = rng.permutation(int(parts.max()) + 1)
        order = order[np.argsort(place[parts[order % len(parts)]], kind="stable")]
        windows = range(shuffle_buffer, len(order), shuffle_buffer)
        order = np.concatenate([rng.permutation(one) for one in np.split(order, windows)])
    return np.array_split(order, num_batches(len(rows), batch_size=batch_size))


def num_batches(num_rows: int, *, batch_size: int) -> int:
    """Return the number of batches per epoch."""
    return -(-num_rows // batch_size)


def part_of_rank(batch: NDArray[np.int64], *, rank: int, world_size: int) -> NDArray[np.int64]:
    """Return a process's share of a global batch."""
    return batch[rank::world_size]


def check_batches(num_rows: int, *, batch_size: int, world_size: int, accumulate: int = 1) -> None:
    """Check that each process gets at least two images of every batch and of each part.

    Raises:
        UserError: The batches are too small for the number of processes or parts.
    """
    smallest = num_rows // num_batches(num_rows, batch_size=batch_size) if num_rows else 0
    processes = plural(world_size, "process", "processes")
    if accumulate > 1 and 2 * world_size <= smallest < 2 * world_size * accumulate:
        raise UserError(
            f"--accumulate {accumulate}: a batch of {smallest} images on {processes} can be split "
            f"into at most {smallest // (2 * world_size)} parts of 2 images; lower it"
        )
    if smallest < 2 * world_size:
        raise UserError(
            f"{num_rows} training images in batches of {batch_size} give "
            f"{plural(smallest, 'image')} per step for {processes}"
            f", each of which needs 2; raise --total-batch-size, start "
            "fewer processes or generate more images"
        )
