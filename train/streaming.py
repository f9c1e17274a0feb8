"""The encoded images of a stream in the order of a run's batches, read ahead of the training.

Parts are read once per epoch: rows of the same part are near to each other in the order of an epoch
(`train.data.epoch_batches`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.common.text import plural, size
from factory.data.image_stream import ImageStream
from factory.data.open import OpenedDataset

Rows = NDArray[np.int64]
Cell = tuple[Any, str, Path | None]
"""An encoded image, its place for messages, and the folder that a path may point into."""
Cells = list[Cell]
_AHEAD = 4


class StreamedCells:
    """The encoded images of one dataset by row."""

    def __init__(self, opened: OpenedDataset) -> None:
        """Read nothing yet."""
        self._stream, self._numbers = stream_of(opened)
        self._parts = self._stream.part_of(self._numbers)
        self._kept: dict[int, Any] = {}

    def cells(self, batches: Sequence[Rows], *, keep: bool) -> Iterator[Cells]:
        """Yield the images of each batch, shape (B,) each; keep them in memory for the next call.

        Held-out images are kept: they are far from each other, and read again in every epoch.
        """
        missing = [rows[[row not in self._kept for row in rows.tolist()]] for rows in batches]
        found = read_ahead([self._parts[rows] for rows in missing], self._stream.cells)
        for rows, new, parts in zip(batches, missing, found, strict=True):
            numbers = self._numbers
            own = {row: parts[self._parts[row]][int(numbers[row])] for row in new.tolist()}
            if keep:
                self._kept |= own
                own = self._kept
            yield [(own[row], f"row {numbers[row]}", None) for row in rows.tolist()]


def read_ahead(
    uses: Sequence[Rows], read: Callable[[int], dict[int, Any]]
) -> Iterator[dict[int, dict[int, Any]]]:
    """Yield the parts that each of several batches needs; the next ones are read meanwhile.

    A part is dropped after the last batch that needs it.

    Args:
        uses: The parts of each batch.
        read: Reads a part.
    """
    last = {int(part): number for number, parts in enumerate(uses) for part in parts}
    waiting = iter(dict.fromkeys(chain.from_iterable(parts.tolist() for parts in uses)))
    loaded: dict[int, Future[dict[int, Any]]] = {}
    with ThreadPoolExecutor(_AHEAD) as pool:
        try:
            for number, parts in enumerate(uses):
                needed = set(parts.tolist())
                ahead = sum(1 for part in loaded if part not in needed)
                while ahead < _AHEAD or not needed <= loaded.keys():
                    part = next(waiting, None)
                    if part is None:
                        break
                    loaded[part] = pool.submit(read, part)
                    ahead += part not in needed
                yield {part: loaded[part].result() for part in needed}
                for part in needed:
                    if last[part] == number:
                        del loaded[part]
        finally:
            for one in loaded.values():
                one.cancel()


def stream_of(opened: OpenedDataset) -> tuple[ImageStream, Rows]:
    """Return the images of a dataset opened as a stream, and the number of each row there."""
    assert opened.stream is not None and opened.row_numbers is not None, "opened as a stream"
    return opened.stream, np.asarray(opened.row_numbers, dtype=np.int64)


def stream_line(opened: OpenedDataset, shuffle_buffer: int) -> str:
    """Describe what a stream reads."""
    stream, numbers = stream_of(opened)
    return (
        f"images are read over the network in each epoch ({size(stream.num_bytes)} in "
        f"{plural(stream.num_parts, 'part')}, by every process), not written to the disk; "
        f"{shuffle_buffer:,} of {len(numbers):,} are shuffled together (--shuffle-buffer)"
    )
