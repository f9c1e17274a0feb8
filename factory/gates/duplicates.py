"""Near-duplicates, told without a model: what two pictures look like from afar.

A picture repeats an earlier one when their difference hashes (Neal Krawetz, 2013: is each of 8x8
places lighter than the one to its right?) differ in few bits and their 4x4 colour thumbnails in few
levels. The first of its kind is never flagged, so that dropping what is flagged leaves one of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.gates.base import picture_of
from factory.manifest import GateEntry
from factory.schema import INDEX
from factory.shards import Row

FLAG = "near_duplicate"
OF = "near_duplicate_of"
BITS = 4
LEVELS = 8.0


class NearDuplicates:
    """Flags pictures that nearly repeat an earlier one of their config."""

    name = "near_duplicates"
    remembers = True

    def __init__(self, *, bits: int = BITS, levels: float = LEVELS) -> None:
        """Set the limits.

        Args:
            bits: Of 64, in which hashes may differ.
            levels: Of 255, by which thumbnails may differ on average.
        """
        self._bits, self._levels = bits, levels
        self.begin("")

    def entry(self) -> GateEntry:
        """Return columns and limits."""
        return GateEntry(
            columns={FLAG: "bool", OF: "int64"},
            method="difference hash of 8x8 and colour thumbnail of 4x4",
            thresholds={"bits": float(self._bits), "levels": self._levels},
        )

    def begin(self, config: str) -> None:
        """Forget the pictures of other configs."""
        self._hashes = np.empty(0, dtype=np.uint64)
        self._thumbnails = np.empty((0, 48), dtype=np.float32)
        self._rows: list[int] = []

    def measure(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Say of each row whether it repeats an earlier one, and which: its `index`."""
        found = []
        for row in rows:
            picture = picture_of(row)
            hashed, thumbnail = difference_hash(picture), colour_thumbnail(picture)
            first = self._first_like(hashed, thumbnail)
            if first is None:
                self._keep(hashed, thumbnail, row)
            found.append({FLAG: first is not None, OF: first})
        return found

    def _first_like(self, hashed: np.uint64, thumbnail: NDArray[np.float32]) -> int | None:
        count = len(self._rows)
        near = np.bitwise_count(self._hashes[:count] ^ hashed) <= self._bits
        for place in np.flatnonzero(near):
            if np.abs(self._thumbnails[place] - thumbnail).mean() <= self._levels:
                return self._rows[int(place)]
        return None

    def _keep(self, hashed: np.uint64, thumbnail: NDArray[np.float32], row: Row) -> None:
        count = len(self._rows)
        if count == len(self._hashes):
            # Doubled, so that a million pictures are not copied a million times.
            self._hashes = np.resize(self._hashes, max(2 * count, 1024))
            self._thumbnails = np.resize(self._thumbnails, (len(self._hashes), 48))
        self._hashes[count], self._thumbnails[count] = hashed, thumbnail
        self._rows.append(int(row[INDEX]))


def difference_hash(picture: Any) -> np.uint64:
    """Return 64 bits: is each place of an 8x8 grid lighter than the one to its right?"""
    from PIL import Image

    grey = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = (grey[:, :-1] > grey[:, 1:]).flatten()
    return np.uint64(int(np.packbits(bits).view(">u8")[0]))


def colour_thumbnail(picture: Any) -> NDArray[np.float32]:
    """Return the picture at 4x4 pixels, shape (48,), 0 to 255."""
    from PIL import Image

    small = picture.resize((4, 4), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).reshape(-1)
