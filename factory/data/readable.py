"""Remove and report the images of a dataset that cannot be read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from factory.common.console import log, progress
from factory.common.errors import UserError
from factory.common.resources import cores_per_process
from factory.common.row_images import SKIPPING, UnreadableImage, read_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
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
    faults = _unreadable(opened, shows=shows)
    if not faults:
        return opened
    listed = list(faults.values())
    if len(faults) == len(opened.dataset):
        raise UserError(f"{opened.reference}: no image can be read; {listed[0]}")
    if shows:
        report_unreadable(opened.reference, listed, total=len(opened.dataset))
    kept = [row for row in range(len(opened.dataset)) if row not in faults]
    return replace(opened.keep(kept), unreadable=tuple(listed))


def _unreadable(opened: OpenedDataset, *, shows: bool) -> dict[int, str]:
    return unreadable_rows(
        opened.dataset,
        range(len(opened.dataset)),
        image_column=opened.image_column,
        folder=opened.image_folder,
        row_numbers=opened.row_numbers,
        shows=shows,
    )


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


@contextmanager
def listing_unreadable(opened: OpenedDataset, *, shows: bool = True) -> Iterator[None]:
    """Name all unreadable images of a dataset in the error about the first one.

    Raises:
        UnreadableImage: One was found; the others were searched for.
    """
    try:
        yield
    except UnreadableImage as error:
        faults = [*_unreadable(opened, shows=shows).values()]
        if len(faults) < 2:
            raise UnreadableImage(f"{error}; {SKIPPING}") from None
        head = f"{opened.reference}: {len(faults)} of {len(opened.dataset)} images cannot be read:"
        raise UnreadableImage("\n".join([head, *_lines(faults), SKIPPING])) from None


def report_unreadable(reference: str, faults: list[str], *, total: int) -> None:
    """Log the skipped rows: the first ones, and how many more."""
    log(f"{reference}: {len(faults)} of {total} images cannot be read and are skipped:")
    for line in _lines(faults):
        log(line)


def _lines(faults: list[str]) -> list[str]:
    more = len(faults) - _LISTED
    return [f"  {one}" for one in faults[:_LISTED]] + ([f"  and {more} more"] if more > 0 else [])
