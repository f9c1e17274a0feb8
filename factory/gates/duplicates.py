"""Find near-duplicates without a model, by comparing strongly reduced images.

An image repeats an earlier one if their difference hashes (Neal Krawetz, 2013: is each cell of an
8x8 grid lighter than the one to its right?) differ in few bits and their 4x4 colour thumbnails in
few levels. The first image of a group is never flagged, so that removing flagged images leaves one
of each. Repeats of an image of another class have a flag of their own: a label may be wrong.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.data.columns import DIFFERENCE_HASH, INDEX, LABEL
from factory.gates.base import ConfigRows, image_of
from factory.shards.manifest import GateEntry
from factory.shards.parquet import Row

FLAG = "near_duplicate"
OF = "near_duplicate_of"
OTHER_LABEL = "near_duplicate_other_label"
BITS = 4
LEVELS = 8.0


class NearDuplicates:
    """Flags images that nearly repeat an earlier one of their config."""

    name = "near_duplicates"
    remembers = True

    def __init__(self, *, bits: int = BITS, levels: float = LEVELS) -> None:
        """Set the thresholds.

        Args:
            bits: Maximum number of differing hash bits, of 64.
            levels: Maximum mean difference of thumbnails, of 255.
        """
        self._bits, self._levels = bits, levels
        self._forget()

    def entry(self) -> GateEntry:
        """Return columns and thresholds."""
        return GateEntry(
            columns={FLAG: "bool", OF: "int64", OTHER_LABEL: "bool", DIFFERENCE_HASH: "int64"},
            method="difference hash of 8x8 and colour thumbnail of 4x4",
            thresholds={"bits": float(self._bits), "levels": self._levels},
        )

    def begin(self, config: str, rows: ConfigRows) -> None:
        """Forget the images of other configs."""
        self._forget()

    def _forget(self) -> None:
        self._hashes = np.empty(0, dtype=np.uint64)
        self._thumbnails = np.empty((0, 48), dtype=np.float32)
        self._rows: list[tuple[int, int]] = []

    def measure(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return each row's hash, which earlier image it repeats, and if their labels differ."""
        found = []
        for row in rows:
            image = image_of(row)
            hashed, thumbnail = difference_hash(image), colour_thumbnail(image)
            alike = self._alike(hashed, thumbnail)
            if not alike:
                self._keep(hashed, thumbnail, row)
            found.append(
                {
                    FLAG: bool(alike),
                    OF: alike[0][0] if alike else None,
                    OTHER_LABEL: any(label != row[LABEL] for _, label in alike),
                    # The same 64 bits, signed: no column of a dataset is unsigned.
                    DIFFERENCE_HASH: int(hashed.astype(np.int64)),
                }
            )
        return found

    def notes(self) -> list[str]:
        """Return nothing: images are measured completely."""
        return []

    def _alike(self, hashed: np.uint64, thumbnail: NDArray[np.float32]) -> list[tuple[int, int]]:
        """Return index and label of the earlier images that an image repeats, in order."""
        count = len(self._rows)
        places = np.flatnonzero(np.bitwise_count(self._hashes[:count] ^ hashed) <= self._bits)
        apart = np.abs(self._thumbnails[places] - thumbnail).mean(axis=1)
        return [self._rows[place] for place in places[apart <= self._levels].tolist()]

    def _keep(self, hashed: np.uint64, thumbnail: NDArray[np.float32], row: Row) -> None:
        count = len(self._rows)
        if count == len(self._hashes):
            # Doubled, so that a million images are not copied a million times.
            self._hashes = np.resize(self._hashes, max(2 * count, 1024))
            self._thumbnails = np.resize(self._thumbnails, (len(self._hashes), 48))
        self._hashes[count], self._thumbnails[count] = hashed, thumbnail
        self._rows.append((int(row[INDEX]), int(row[LABEL])))


def difference_hash(image: Any) -> np.uint64:
    """Return 64 bits: is each cell of an 8x8 grid lighter than the one to its right?"""
    from PIL import Image

    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = (grey[:, :-1] > grey[:, 1:]).flatten()
    return np.uint64(int(np.packbits(bits).view(">u8")[0]))


def colour_thumbnail(image: Any) -> NDArray[np.float32]:
    """Return the image at 4x4 pixels, shape (48,), 0 to 255."""
    from PIL import Image

    small = image.resize((4, 4), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).reshape(-1)
