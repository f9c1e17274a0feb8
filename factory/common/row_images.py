"""Read images from dataset rows and files; no other module does.

Rows are untrusted. A path in a row is followed only inside an image folder that the user named, and
an address is never requested. `factory.common.image_bytes` decodes the bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError
from factory.common.image_bytes import LARGE_PIXELS, ImageFault, decode, header
from factory.common.local_paths import is_inside
from factory.common.redaction import cut_line

if TYPE_CHECKING:
    import datasets
    from PIL.Image import Image

MAX_BYTES = 256 << 20
SKIPPING = "--skip-unreadable skips such images and counts them"


class UnreadableImage(UserError):
    """Raised when the image of a row cannot be read or decoded."""


def read_image(item: Any, *, where: str, folder: Path | None = None) -> Image:
    """Read the image of one row.

    Args:
        item: The cell as `datasets.Image(decode=False)` gives it: `bytes` and `path`, or None.
        where: The row, for messages.
        folder: The image folder that paths may point into; None: rows must contain bytes.

    Returns:
        The image as RGB, see `factory.common.image_modes`.

    Raises:
        UnreadableImage: The image is missing, not allowed, or cannot be decoded.
    """
    return read_hashed(item, where=where, folder=folder)[0]


def read_hashed(
    item: Any, *, where: str, folder: Path | None = None, side: int | None = None
) -> tuple[Image, bytes]:
    """Read the image of one row, and a hash that identifies it.

    A JPEG of more than `LARGE_PIXELS` pixels is decoded at 1/2, 1/4 or 1/8 of its size, as long as
    both sides stay at least three times `side`: resized to `side` it looks the same, in a fraction
    of the time. Smaller images are always decoded at full size.

    Args:
        item: As for `read_image`.
        where: As for `read_image`.
        folder: As for `read_image`.
        side: Longest side in pixels after the later resize; None: decode at full size.

    Returns:
        The image as RGB, and the SHA-256 of its size and pixels; for an image of more than
        `LARGE_PIXELS` that of its encoded bytes, which does not depend on `side`.

    Raises:
        UnreadableImage: As `read_image`.
    """
    try:
        data = _source(item, folder)
    except ImageFault as fault:
        # The message already names a path that is not followed.
        file = _file_name(item, folder) if folder else ""
        raise UnreadableImage(f"{where}{file}: {fault}") from None
    try:
        rgb, num_pixels = decode(data, side=side)
    except ImageFault as fault:
        raise UnreadableImage(f"{where}{_file_name(item, folder)}: {fault}") from None
    if num_pixels > LARGE_PIXELS:
        return rgb, hashlib.sha256(data).digest()
    size = f"{rgb.width}x{rgb.height} ".encode()
    return rgb, hashlib.sha256(size + rgb.tobytes()).digest()


def encoded_image(item: Any, *, where: str, folder: Path | None = None) -> bytes:
    """Return the encoded image of one row; it is not decoded.

    Arguments and errors are those of `read_image`.
    """
    try:
        return _source(item, folder)
    except ImageFault as fault:
        file = _file_name(item, folder) if folder else ""
        raise UnreadableImage(f"{where}{file}: {fault}") from None


def image_sha256(item: Any, *, where: str, folder: Path | None = None) -> bytes:
    """Return the SHA-256 of the encoded image of one row; it is not decoded.

    Args:
        item: As for `read_image`.
        where: As for `read_image`.
        folder: As for `read_image`.

    Raises:
        UnreadableImage: The image is missing, or not allowed.
    """
    return hashlib.sha256(encoded_image(item, where=where, folder=folder)).digest()


def image_header(item: Any, *, where: str, folder: Path | None = None) -> tuple[str, int, int]:
    """Return format, width and height of the encoded image of one row; it is not decoded.

    Arguments and errors are those of `read_image`.
    """
    try:
        return header(_source(item, folder))
    except ImageFault as fault:
        file = _file_name(item, folder) if folder else ""
        raise UnreadableImage(f"{where}{file}: {fault}") from None


def read_file(
    file: Path, *, shown: str, folder: Path | None = None, side: int | None = None
) -> Image:
    """Read an image file.

    Args:
        file: Path of the file.
        shown: The path as the user typed it, for messages.
        folder: Links must not lead out of this folder; None: the user named the file itself.
        side: As for `read_hashed`.

    Returns:
        The image as RGB, the same as that of a row with the file's bytes.

    Raises:
        UnreadableImage: The file must not be read, or cannot be decoded.
    """
    try:
        return decode(_contents(file, folder), side=side)[0]
    except ImageFault as fault:
        raise UnreadableImage(f"{shown}: {fault}") from None


@contextmanager
def skipping_advised() -> Iterator[None]:
    """Mention `--skip-unreadable` in the message about an unreadable image."""
    try:
        yield
    except UnreadableImage as error:
        raise UnreadableImage(f"{error}; {SKIPPING}") from None


def _file_name(item: Any, folder: Path | None) -> str:
    """Return the name of an image's file in brackets, or nothing."""
    path = item.get("path") if isinstance(item, Mapping) else None
    if not isinstance(path, str) or not path:
        return ""
    file = Path(path)
    inside = folder is not None and file.is_relative_to(folder)
    return f" ({cut_line(str(file.relative_to(folder)) if inside and folder else path, 200)})"


def embedded(dataset: datasets.Dataset, *, where: str, folder: Path | None) -> datasets.Dataset:
    """Put the bytes of every image into the rows, as `read_image` finds them; nulls stay.

    Raises:
        UserError: The image of a row cannot be read.
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


def _source(item: Any, folder: Path | None) -> bytes:
    """Return the encoded image of a row: its bytes, or those of its file inside `folder`."""
    if item is None:
        raise ImageFault("the image is missing (null); filter such rows out")
    if not isinstance(item, Mapping):
        raise ImageFault(f"contains {type(item).__name__}, not an image")
    data, path = item.get("bytes"), item.get("path")
    if isinstance(data, bytes):
        if len(data) > MAX_BYTES:
            raise ImageFault(f"the image has more than {MAX_BYTES:,} bytes; filter such rows out")
        return data
    if not isinstance(path, str) or not path:
        raise ImageFault("the image is missing (no bytes); filter such rows out")
    if folder is None:
        raise ImageFault(
            f"contains no image, only the path or address {path[:200]!r}, which is not followed; "
            "use a dataset whose rows contain their images, or filter the row out"
        )
    return _contents(Path(path), folder)


def _contents(file: Path, folder: Path | None) -> bytes:
    """Return the bytes of a file, which must be inside `folder` if there is one."""
    name = repr(str(file)[:200])
    if folder is not None and not is_inside(file, folder):
        raise ImageFault(f"{name} is not inside {folder} and is not read; remove it")
    try:
        if not file.is_file():
            raise ImageFault(f"{name} is missing or not a regular file; restore it")
        if file.stat().st_size > MAX_BYTES:
            raise ImageFault(f"{name} is larger than {MAX_BYTES:,} bytes; shrink it")
        return file.read_bytes()
    except PermissionError:
        raise ImageFault(f"permission to read {name} is denied; change its permissions") from None
