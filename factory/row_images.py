"""The one reader of images from dataset rows: bytes of a few formats, nothing else.

A row comes from anywhere. Its path is followed only inside an image folder that the user named; an
address is never requested, no format starts a program, and no image is larger than `MAX_PIXELS`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from factory.errors import UserError
from factory.inside import is_inside

if TYPE_CHECKING:
    import datasets
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_PIXELS = 8192 * 8192
"""About 200 MB as RGB; several images are decoded at once."""
MAX_BYTES = 256 << 20


class ImageFault(ValueError):
    """Describes why an image is not read."""


def read_image(item: Any, *, where: str, folder: Path | None = None) -> Image:
    """Read the image of one row.

    Args:
        item: The cell as `datasets.Image(decode=False)` gives it: `bytes` and `path`, or None.
        where: The row, for messages.
        folder: The image folder that paths may point into; None: rows must hold bytes.

    Returns:
        The image as RGB.

    Raises:
        UserError: There is no image, it is not read, or it cannot be decoded.
    """
    try:
        return load_image(_source(item, folder)).convert("RGB")
    except ImageFault as fault:
        raise UserError(f"{where}: {fault}") from None


def embedded(dataset: datasets.Dataset, *, where: str, folder: Path | None) -> datasets.Dataset:
    """Put the bytes of every image into the rows, as `read_image` finds them; nulls stay.

    Args:
        dataset: Its columns of images are `datasets.Image(decode=False)`.
        where: The dataset, for messages.
        folder: As for `read_image`.

    Raises:
        UserError: The image of a row is not read.
    """
    from datasets import Image

    def cell(item: Any, row: int) -> Any:
        try:
            return item and {"bytes": _source(item, folder), "path": None}
        except ImageFault as fault:
            raise UserError(f"{where}: row {row}: {fault}") from None

    for name in [name for name, one in dataset.features.items() if isinstance(one, Image)]:

        def batch(items: list[Any], rows: list[int], name: str = name) -> dict[str, list[Any]]:
            return {name: [cell(item, row) for item, row in zip(items, rows, strict=True)]}

        dataset = dataset.map(
            batch, with_indices=True, batched=True, batch_size=100, input_columns=[name]
        ).cast_column(name, Image())
    return dataset


def load_image(data: bytes) -> Image:
    """Decode an image, in the mode that it is stored in.

    Raises:
        ImageFault: It is too large, of another format, or damaged.
    """
    pillow = _pillow()
    try:
        image: Image = pillow.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_large(f"of {width:,} x {height:,} pixels ")
        image.load()
        return image
    except ImageFault:
        raise
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        raise _too_large("") from None
    except pillow.UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise ImageFault(
            f"the image cannot be decoded: it is none of {known}; convert it, or filter the row out"
        ) from None
    except Exception as error:  # noqa: BLE001 (Pillow raises anything for damaged bytes)
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise ImageFault(f"the image cannot be decoded ({reason[:200]})") from None


def _too_large(size: str) -> ImageFault:
    return ImageFault(
        f"the image {size}is larger than {MAX_PIXELS:,} pixels; shrink it, or filter the row out"
    )


@cache
def _pillow() -> ModuleType:
    from PIL import Image

    # The limit above is lower than where Pillow starts to warn.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    return Image


def _source(item: Any, folder: Path | None) -> bytes:
    """Return the bytes of a row, or of the file that it names inside `folder`."""
    if item is None:
        raise ImageFault("the image is missing (null); filter such rows out")
    if not isinstance(item, Mapping):
        raise ImageFault(f"holds {type(item).__name__}, no image")
    data, path = item.get("bytes"), item.get("path")
    if isinstance(data, bytes):
        return data
    if not isinstance(path, str) or not path:
        raise ImageFault("the image is missing (no bytes); filter such rows out")
    if folder is None:
        raise ImageFault(
            f"holds no image, only the path or address {path[:200]!r}, which is not followed; "
            "use a dataset whose rows hold their images, or filter the row out"
        )
    file = Path(path)
    if not is_inside(file, folder):
        raise ImageFault(f"{path[:200]!r} is not inside {folder} and is not read; remove it")
    if not file.is_file():
        raise ImageFault(f"{path[:200]!r} is gone or no regular file; restore it")
    if file.stat().st_size > MAX_BYTES:
        raise ImageFault(f"{path[:200]!r} is larger than {MAX_BYTES:,} bytes; shrink it")
    return file.read_bytes()
