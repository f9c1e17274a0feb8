"""The images of a split of a Hub dataset, read in parts over the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import UserError, first_line
from factory.common.remote_parquet import RemoteParquet
from factory.data.dataset_builders import MALFORMED

if TYPE_CHECKING:
    import pyarrow as pa

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class ImageStream:
    """The images of a split, by row number over all its files.

    A part is a row group of a file: the least that can be read.

    Attributes:
        files: The Parquet files, in order.
        column: The column of images.
        sha256: Hash of the files' hashes.
    """

    files: tuple[RemoteParquet, ...]
    column: str
    sha256: str

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        """File and row group of each part."""
        return [
            (number, group)
            for number, file in enumerate(self.files)
            for group in range(footer(file).num_row_groups)
        ]

    @cached_property
    def _ends(self) -> Rows:
        """The number of rows up to the end of each part, shape (P,)."""
        sizes = [
            self.files[number].metadata.row_group(group).num_rows for number, group in self._places
        ]
        return np.cumsum(np.asarray(sizes, dtype=np.int64))

    @property
    def num_parts(self) -> int:
        """Number of parts."""
        return len(self._places)

    @property
    def num_bytes(self) -> int:
        """Stored bytes of all images."""
        return sum(file.num_bytes(self.column) for file in self.files)

    def part_of(self, rows: Rows) -> Rows:
        """Return the part of each row, shape (N,)."""
        return np.searchsorted(self._ends, rows, side="right")

    def cell(self, row: int) -> Any:
        """Read the image of one row; see `cells`."""
        return self.cells(int(self.part_of(np.array(row))))[row]

    def cells(self, part: int) -> dict[int, Any]:
        """Read the images of a part: by row, as `datasets.Image(decode=False)` gives them.

        Raises:
            UserError: They would take far more memory than they should, or the file is damaged.
            Failure: The Hub cannot be reached.
        """
        number, group = self._places[part]
        file = self.files[number]
        found = read_columns(file, [self.column], [group])[self.column].to_pylist()
        start = int(self._ends[part]) - len(found)
        # A path in a row is never followed.
        return {
            start + place: item and {"bytes": item.get("bytes"), "path": item.get("path")}
            for place, item in enumerate(found)
        }


def read_columns(file: RemoteParquet, columns: Sequence[str], groups: Sequence[int]) -> pa.Table:
    """Return columns of row groups of a file.

    Raises:
        UserError: They would take far more memory than they should, or the file is damaged.
        Failure: The file cannot be reached.
    """
    footer(file)
    try:
        return file.table(columns, groups)
    except (OSError, ValueError, *MALFORMED) as error:
        raise _damaged(file, error) from None


def footer(file: RemoteParquet) -> Any:
    """Return the footer of a file; errors as `read_columns`."""
    try:
        return file.metadata
    except (OSError, ValueError, *MALFORMED) as error:
        raise _damaged(file, error) from None


def _damaged(file: RemoteParquet, error: Exception) -> UserError:
    return UserError(f"{file.shown}: cannot be read ({first_line(error)}); publish it again")
