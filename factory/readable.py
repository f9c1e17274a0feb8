"""Leaves out the images of a dataset that cannot be read, and says which."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from factory.console import log, progress
from factory.devices import cores_per_process
from factory.errors import UserError
from factory.row_images import UnreadableImage, read_image

if TYPE_CHECKING:
    from factory.open_data import OpenedDataset

_CHUNK = 32
_LISTED = 10


def only_readable(opened: OpenedDataset, *, shows: bool = True) -> OpenedDataset:
    """Decode every image once and keep the rows whose image can be read.

    Args:
        opened: The dataset.
        shows: Whether this process reports the progress and what is left out.

    Returns:
        The dataset without the other rows, which `unreadable` lists: row, file, reason.

    Raises:
        UserError: No image can be read.
    """
    images = opened.dataset.select_columns([opened.image_column])
    faults: dict[int, str] = {}
    bar = progress(len(images), unit="image", description="checking images", show=shows)

    def check(start: int) -> None:
        for offset, item in enumerate(images[start : start + _CHUNK][opened.image_column]):
            row = start + offset
            try:
                read_image(item, where=f"row {row}", folder=opened.image_folder)
            except UnreadableImage as error:
                faults[row] = str(error)

    with ThreadPoolExecutor(cores_per_process()) as pool, bar:
        for _ in pool.map(check, range(0, len(images), _CHUNK)):
            bar.update(min(_CHUNK, len(images) - bar.n))
    if not faults:
        return opened
    listed = [faults[row] for row in sorted(faults)]
    if len(faults) == len(images):
        raise UserError(f"{opened.reference}: no image can be read; {listed[0]}")
    if shows:
        _report(opened.reference, listed, total=len(images))
    kept = [row for row in range(len(images)) if row not in faults]
    return replace(opened, dataset=opened.dataset.select(kept), unreadable=tuple(listed))


def _report(reference: str, faults: list[str], *, total: int) -> None:
    more = len(faults) - _LISTED
    log(f"{reference}: {len(faults)} of {total} images cannot be read and are left out:")
    for fault in faults[:_LISTED]:
        log(f"  {fault}")
    if more > 0:
        log(f"  and {more} more")
