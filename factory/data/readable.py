"""Remove and report the images of a dataset that cannot be read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from factory.common.console import log, progress
from factory.common.errors import UserError
from factory.common.machine import cores_per_process
from factory.common.row_images import UnreadableImage, read_image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import datasets

    from factory.data.open import OpenedDataset

_CHUNK = 32
_LISTED = 10


def only_readable(opened: OpenedDataset, *, shows: bool = True) -> OpenedDataset:
    """Decode every image once and keep the rows whose image can be read.

    Returns:
        The dataset without unreadable rows; `unreadable` lists their row, file and reason.

    Raises:
        UserError: No image can be read.
    """
    faults = unreadable_rows(
        opened.dataset,
        range(len(opened.dataset)),
        image_column=opened.image_column,
        folder=opened.image_folder,
        row_numbers=opened.row_numbers,
        shows=shows,
    )
    if not faults:
        return opened
    listed = list(faults.values())
    if len(faults) == len(opened.dataset):
        raise UserError(f"{opened.reference}: no image can be read; {listed[0]}")
    if shows:
        report_unreadable(opened.reference, listed, total=len(opened.dataset))
    kept = [row for row in range(len(opened.dataset)) if row not in faults]
    return replace(opened.keep(kept), unreadable=tuple(listed))


def unreadable_rows(
    dataset: datasets.Dataset,
    rows: Sequence[int],
    *,
    image_column: str,
    folder: Path | None,
    row_numbers: Sequence[int] | None = None,
    shows: bool = True,
) -> dict[int, str]:
    """Decode the images of some rows; return the unreadable rows with reasons."""
    numbers = row_numbers or range(len(dataset))
    images = dataset.select_columns([image_column])
    faults: dict[int, str] = {}
    bar = progress(len(rows), unit="image", description="checking images", show=shows)

    def check(start: int) -> None:
        part = list(rows[start : start + _CHUNK])
        for row, item in zip(part, images[part][image_column], strict=True):
            try:
                read_image(item, where=f"row {numbers[row]}", folder=folder)
            except UnreadableImage as error:
                faults[row] = str(error)

    with ThreadPoolExecutor(cores_per_process()) as pool, bar:
        for _ in pool.map(check, range(0, len(rows), _CHUNK)):
            bar.update(min(_CHUNK, len(rows) - bar.n))
    return {row: faults[row] for row in sorted(faults)}


def report_unreadable(reference: str, faults: list[str], *, total: int) -> None:
    """Log the skipped rows: the first ones, and how many more."""
    more = len(faults) - _LISTED
    log(f"{reference}: {len(faults)} of {total} images cannot be read and are skipped:")
    for fault in faults[:_LISTED]:
        log(f"  {fault}")
    if more > 0:
        log(f"  and {more} more")
