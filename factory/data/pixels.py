"""Decodes a dataset's pictures once, to one array: training then decodes nothing."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import Failure, UserError
from factory.common.row_images import read_image, skipping_advised

if TYPE_CHECKING:
    import datasets

RESAMPLES = ("nearest", "bilinear", "bicubic", "lanczos")
# Above this the array lives in a file that the system pages in as needed.
_IN_MEMORY_BYTES = 4 << 30
_CHUNK = 256


def decode_images(
    dataset: datasets.Dataset,
    *,
    image_column: str,
    height: int,
    width: int,
    resample: str = "bicubic",
    image_folder: Path | None = None,
    row_numbers: Sequence[int] | None = None,
) -> NDArray[np.uint8]:
    """Decode every picture to RGB and resize it.

    Args:
        dataset: Rows in the order wanted.
        image_column: A column of type `datasets.Image`.
        height: Of the result, pixels.
        width: Of the result, pixels.
        resample: One of `RESAMPLES`; Pillow's filters, which widen when they shrink (anti-aliased).
        image_folder: See `factory.common.row_images.read_image`.
        row_numbers: Numbers of the rows in messages; default: from 0.

    Returns:
        Array of shape (len(dataset), height, width, 3), uint8.

    Raises:
        UserError: An image cannot be decoded, or `resample` is unknown.
        Failure: The array is too large for memory and for the disk of temporary files.
    """
    import datasets as hf

    if resample not in RESAMPLES:
        raise UserError(f"resample {resample!r} is unknown; choose one of {', '.join(RESAMPLES)}")
    numbers = row_numbers or range(len(dataset))
    images = _allocate((len(dataset), height, width, 3))
    encoded = dataset.select_columns([image_column]).cast_column(
        image_column, hf.Image(decode=False)
    )

    def fill(start: int) -> None:
        for offset, item in enumerate(encoded[start : start + _CHUNK][image_column]):
            with skipping_advised():
                where = f"row {numbers[start + offset]}"
                rgb = read_image(item, where=where, folder=image_folder)
            images[start + offset] = _resized(rgb, (width, height), resample)

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for _ in pool.map(fill, range(0, len(dataset), _CHUNK)):
            pass
    return images


def labelled_sha256(labels: NDArray[np.int64], pixels: Iterable[NDArray[np.uint8]]) -> str:
    """Return the hash that a run records of its data.

    Args:
        labels: Shape (N,).
        pixels: The N images of `decode_images`, in order, in parts of any size.
    """
    digest = hashlib.sha256(labels.tobytes())
    for part in pixels:
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def _allocate(shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    size = math.prod(shape)
    if size <= _IN_MEMORY_BYTES:
        return np.empty(shape, dtype=np.uint8)
    with tempfile.NamedTemporaryFile(suffix=".images") as file:
        remedy = "set TMPDIR to a directory with more space"
        require_space(Path(file.name).parent, size, remedy=remedy)
        _reserve(file.fileno(), size, remedy=remedy)
        # The mapping keeps the file alive; without a name it goes when the process does.
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)


def _reserve(descriptor: int, size: int, *, remedy: str) -> None:
    """Take a file's space now: a mapped file on a full disk ends its process (SIGBUS)."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Failure(
                f"{tempfile.gettempdir()}: no space for {size / 2**30:,.1f} GiB of decoded images "
                f"({error.strerror}); {remedy}, or lower --image-size"
            ) from None


def require_space(folder: Path, size: int, *, remedy: str) -> None:
    """Check that decoded images fit onto a disk.

    Args:
        folder: Where they are going to be written.
        size: In bytes.
        remedy: What to do if they do not fit.

    Raises:
        Failure: There is less space; names the folder, what is needed and what is free.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise Failure(
            f"{folder}: the decoded images need {size / 2**30:,.1f} GiB there, {free / 2**30:,.1f} "
            f"GiB are free; {remedy}, or lower --image-size"
        )


def _resized(rgb: Any, size: tuple[int, int], resample: str) -> NDArray[np.uint8]:
    from PIL import Image

    if rgb.size != size:
        rgb = rgb.resize(size, Image.Resampling[resample.upper()])
    return np.asarray(rgb, dtype=np.uint8)
