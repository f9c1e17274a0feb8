"""Read parts of a Parquet file without the whole: its footer, and columns of row groups."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, cast

from factory.common.errors import UserError
from factory.common.parquet_bounds import Chunk, chunks_of, require_bounded_part
from factory.common.text import size as shown_size

if TYPE_CHECKING:
    import pyarrow as pa

_TAIL_BYTES = 64 << 10
# Columns that are this near to each other are read at once.
_GAP_BYTES = 64 << 10
_MOST_BYTES = 1 << 30
"""Of what is read at once; several parts are in memory at the same time."""


class RemoteParquet:
    """A Parquet file, of which only the requested parts are transferred.

    Attributes:
        size: Of the file in bytes.
        shown: Its name in messages.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int, *, shown: str) -> None:
        """Read nothing yet.

        Args:
            read: Returns the bytes from a first one to the one before another.
            size: Of the file in bytes.
            shown: Its name in messages.
        """
        self._read, self.size, self.shown = read, size, shown

    @cached_property
    def _footer(self) -> tuple[int, bytes]:
        """Where the footer starts, and its bytes."""
        start = max(self.size - _TAIL_BYTES, 0)
        tail = self._read(start, self.size)
        length = int.from_bytes(tail[-8:-4], "little") + 8
        if len(tail) < length <= self.size:
            start = self.size - length
            tail = self._read(start, self.size)
        return start, tail

    @cached_property
    def metadata(self) -> Any:
        """The footer, as `pyarrow.parquet.FileMetaData`.

        Raises:
            ValueError: The file is damaged.
        """
        import pyarrow.parquet as pq

        # pyarrow must not read a damaged footer.
        assert self._chunks is not None
        return pq.read_metadata(self._file({}))

    @cached_property
    def _chunks(self) -> list[Chunk]:
        """The columns of all row groups: parsed once, since large files have many."""
        found = chunks_of(self._file({}))
        if any(chunk.start + chunk.size > self.size for chunk in found):
            raise ValueError("its footer is damaged")
        return found

    def num_bytes(self, column: str) -> int:
        """Return the stored bytes of a column."""
        return sum(chunk.size for chunk in self._chunks if chunk.column == column)

    def table(self, columns: Sequence[str], groups: Sequence[int]) -> pa.Table:
        """Return columns of row groups.

        Raises:
            UserError: They are larger than 1 GiB, or would take far more memory than they should.
            ValueError: The file is damaged.
        """
        import pyarrow.parquet as pq

        among = set(groups)
        chunks = [one for one in self._chunks if one.column in columns and one.group in among]
        if (size := sum(chunk.size for chunk in chunks)) > _MOST_BYTES:
            raise UserError(
                f"{self.shown}: its row groups of {shown_size(size)} are too large to be read at "
                f"once (at most {shown_size(_MOST_BYTES)}); download the file, or write it with "
                "smaller row groups"
            )
        ranges = sorted((chunk.start, chunk.start + chunk.size) for chunk in chunks)
        file = self._file({start: self._read(start, stop) for start, stop in _joined(ranges)})
        require_bounded_part(file, chunks, shown=self.shown)
        reader = pq.ParquetFile(file, metadata=self.metadata)
        table = reader.read_row_groups(list(groups), columns=list(columns), use_threads=False)
        expected = sum(self.metadata.row_group(one).num_rows for one in groups)
        if table.num_rows != expected:
            raise ValueError("its footer is damaged")
        return table

    def _file(self, parts: dict[int, bytes]) -> IO[bytes]:
        start, tail = self._footer
        return cast("IO[bytes]", _Parts({**parts, start: tail}, self.size))


class _Parts(io.RawIOBase):
    """A file of which some parts are in memory."""

    def __init__(self, parts: dict[int, bytes], size: int) -> None:
        self._parts, self._size, self._at = parts, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence, self._size)
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._at + size, self._size)
        start, part = next(
            (
                (start, part)
                for start, part in self._parts.items()
                if start <= self._at < start + len(part)
            ),
            (self._at, b""),
        )
        found = part[self._at - start : stop - start]
        self._at += len(found)
        return found


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join ranges that are near to each other."""
    found: list[tuple[int, int]] = []
    for start, stop in ranges:
        if found and start - found[-1][1] < _GAP_BYTES:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return found
