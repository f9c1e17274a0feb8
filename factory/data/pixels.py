"""Decode a dataset's images once into one array, so that training does not decode."""

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
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import Failure, UserError
from factory.common.image_bytes import MAX_PIXELS
from factory.common.row_images import read_image

if TYPE_CHECKING:
    import datasets

Fit = Literal["crop", "pad", "squash"]
RESAMPLES = ("nearest", "bilinear", "bicubic", "lanczos")
# Larger arrays are in a memory-mapped file.
_IN_MEMORY_BYTES = 4 << 30
_CHUNK = 256


def decode_images(
    dataset: datasets.Dataset,
    *,
    image_column: str,
    height: int,
    width: int,
    resample: str = "bicubic",
    fit: Fit = "squash",
    colour: tuple[int, int, int] = (0, 0, 0),
    image_folder: Path | None = None,
    row_numbers: Sequence[int] | None = None,
) -> NDArray[np.uint8]:
    """Decode every image to RGB and resize it.

    Args:
        dataset: Rows in the desired order.
        image_column: A column of type `datasets.Image`.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        resample: One of `RESAMPLES`, Pillow's filters, which are anti-aliased when shrinking.
        fit: Treatment of other aspect ratios: crop the centre, pad with borders, or squash.
        colour: Colour of the borders, RGB.
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
            where = f"row {numbers[start + offset]}"
            rgb = read_image(item, where=where, folder=image_folder)
            rgb = fitted(rgb, width / height, fit, colour=colour)
            images[start + offset] = resized(rgb, (width, height), resample)

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
        # The mapping keeps the unlinked file alive until the process ends.
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)


def _reserve(descriptor: int, size: int, *, remedy: str) -> None:
    """Allocate a file's space now: a mapped file on a full disk would kill the process (SIGBUS)."""
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
    """Check that the disk has space for decoded images.

    Raises:
        Failure: There is too little space.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise Failure(
            f"{folder}: the decoded images need {size / 2**30:,.1f} GiB, but only "
            f"{free / 2**30:,.1f} GiB are free; {remedy}, or lower --image-size"
        )


def resized(rgb: Any, size: tuple[int, int], resample: str) -> NDArray[np.uint8]:
    """Return an image of Pillow at another size (width, height), shape (height, width, 3)."""
    from PIL import Image

    if rgb.size != size:
        rgb = rgb.resize(size, Image.Resampling[resample.upper()])
    return np.asarray(rgb, dtype=np.uint8)


def fitted(image: Any, ratio: float, fit: Fit, *, colour: tuple[int, int, int]) -> Any:
    """Crop or pad an image to a ratio of width to height; `squash` returns it unchanged."""
    if fit == "crop":
        return crop(image, ratio)
    return pad(image, ratio, colour=colour) if fit == "pad" else image


def border_colour(mean: Sequence[float]) -> tuple[int, int, int]:
    """Return the colour of borders, which becomes zeros in the input of a model.

    Args:
        mean: What the model subtracts from RGB in 0 to 1.
    """
    red, green, blue = (round(255 * value) for value in mean)
    return red, green, blue


def crop(image: Any, ratio: float) -> Any:
    """Return the largest central part of an image with a given ratio of width to height."""
    width = min(image.width, round(image.height * ratio))
    height = min(image.height, round(image.width / ratio))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def pad(image: Any, ratio: float, *, colour: tuple[int, int, int]) -> Any:
    """Return an image padded to a given ratio of width to height.

    An image that would exceed `MAX_PIXELS` pixels is first reduced.
    """
    from PIL import Image

    width, height = _padded(image, ratio)
    if width * height > MAX_PIXELS:
        scale = math.sqrt(MAX_PIXELS / (width * height))
        image = image.resize([max(1, int(one * scale)) for one in image.size], reducing_gap=2)
        width, height = _padded(image, ratio)
    found = Image.new("RGB", (width, height), colour)
    found.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return found


def _padded(image: Any, ratio: float) -> tuple[int, int]:
    """Return the size of the smallest image of a ratio that contains an image."""
    width = max(image.width, round(image.height * ratio))
    return width, max(image.height, round(image.width / ratio))
