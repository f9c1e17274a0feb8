"""Refuse Parquet files of others whose rows would take far more memory than the file itself.

One long value in a dictionary and a few bytes per row give gigabytes of rows. Footers do not count
this, and may be wrong. So the headers of all pages are read, as the reader of the rows does.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from factory.common.size_limits import NOTHING, Extra, most_bytes, refuse_expansion
from factory.common.thrift import (
    I32,
    I64,
    LIST,
    NUMBERS,
    STRUCT,
    TEXT,
    Fields,
    Incomplete,
    Lists,
    read_structure,
)

# Of each physical type in bytes; 0 for texts, and for types with a width of their own.
_WIDTHS = (1, 4, 8, 12, 4, 8, 0, 0)
_TEXTS = 6
_OFFSET_BYTES = 8
# Encodings that repeat a value, or a part of one, in a few bits.
_DICTIONARY, _DELTA = frozenset((2, 8)), 7
_DICTIONARY_PAGE = 2
# The lists that the format declares: of a column, and of the footer. The header of a page has none.
_COLUMN: Lists = {
    2: (NUMBERS, {}),
    3: ((TEXT,), {}),
    8: ((STRUCT,), {}),
    13: ((STRUCT,), {}),
    16: ((STRUCT,), {2: (NUMBERS, {}), 3: (NUMBERS, {})}),
    17: ((STRUCT,), {2: (NUMBERS, {})}),
}
_FOOTER: Lists = {
    2: ((STRUCT,), {}),
    4: ((STRUCT,), {1: ((STRUCT,), {3: ((STRUCT,), _COLUMN)}), 4: ((STRUCT,), {})}),
    5: ((STRUCT,), {}),
    7: ((STRUCT,), {}),
}
_NO_VALUES: Fields = {(1, I32): 0, (2, I32): 0, (4, I32): 0}
_FIRST_READ, _LONGEST_HEADER = 1 << 10, 1 << 20
_MEASURED_BYTES = 64 << 20


@dataclass
class _Cost:
    """Upper bounds for the bytes of a column's rows.

    Attributes:
        certain: Bytes of its pages, and of values of a fixed width.
        repeated: Bytes of texts if each repeated one were the longest possible.
        longest: Bytes of the longest possible repeated text.
    """

    certain: int = 0
    repeated: int = 0
    longest: int = 0

    def add(self, other: _Cost) -> None:
        self.certain += other.certain
        self.repeated += other.repeated
        self.longest = max(self.longest, other.longest)


def require_bounded_file(
    path: Path, *, shown: str, extra: Extra = NOTHING, without: str | None = None
) -> None:
    """Check a local file; see `require_bounded`."""
    with path.open("rb") as file:
        require_bounded(file, shown=shown, extra=extra, without=without)


def require_footer(path: Path) -> None:
    """Check that pyarrow can read the description of a file.

    Raises:
        ValueError: The file is damaged.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        _chunks(file, file.seek(0, io.SEEK_END))


def require_bounded(
    file: IO[bytes], *, shown: str, extra: Extra = NOTHING, without: str | None = None
) -> None:
    """Check that the rows of a file take at most 128 MiB and 100 times its size.

    Args:
        file: A Parquet file, open for reading.
        shown: Its name in messages.
        extra: What its rows will take in addition.
        without: Column that will not be read, and is not counted.

    Raises:
        UserError: They may take more.
        ValueError: The file is damaged.
        OSError: pyarrow or the system cannot read it.
    """
    size = file.seek(0, io.SEEK_END)
    chunks, num_rows = _chunks(file, size)
    chunks = [one for one in chunks if one.column != without]
    num_values = sum(chunk.num_values for chunk in chunks)
    total = num_rows + extra.require_bounded(num_rows, num_values, size=size, shown=shown)
    _require_bounded(file, chunks, size=size, shown=shown, total=total)


def chunks_of(file: IO[bytes]) -> list[Chunk]:
    """Return all columns of all row groups, as the footer describes them.

    Raises:
        ValueError: The file is damaged.
    """
    return _chunks(file, file.seek(0, io.SEEK_END))[0]


def require_bounded_part(file: IO[bytes], chunks: list[Chunk], *, shown: str) -> None:
    """Check some columns of some row groups, by their own size; see `require_bounded`."""
    size = sum(chunk.size for chunk in chunks)
    groups = sorted({chunk.group for chunk in chunks})
    _require_bounded(file, chunks, size=size, shown=shown, groups=groups)


def _require_bounded(
    file: IO[bytes],
    chunks: list[Chunk],
    *,
    size: int,
    shown: str,
    total: int = 0,
    groups: list[int] | None = None,
) -> None:
    """Compare the bytes of columns, and a total of others, with what `size` bytes may become."""
    limit = most_bytes(size)
    costs = _costs(file, chunks, most_pages=10_000 + size // 100)
    total += sum(cost.certain for cost in costs.values())
    if total <= limit < total + sum(cost.repeated for cost in costs.values()):
        repeating = {path: cost.longest for path, cost in costs.items() if cost.repeated}
        for measured in _measured(file, repeating, groups):
            total += measured
            if total > limit:
                break
    if total > limit:
        refuse_expansion(
            shown, size, advice="write it again without long values that are repeated in many rows"
        )


@dataclass(frozen=True)
class Chunk:
    """A column of a row group, as the footer describes it; sizes in bytes.

    Attributes:
        group: Number of the row group.
        column: Name of the column.
        path: Name of the leaf, which differs for nested columns.
        kind: Physical type.
        width: Bytes of a value of a fixed width.
        num_values: Number of values.
        start: Position in the file.
        size: Stored size.
    """

    group: int
    column: str
    path: str
    kind: int
    width: int
    num_values: int
    start: int
    size: int


def _chunks(file: IO[bytes], size: int) -> tuple[list[Chunk], int]:
    """Return the columns that the footer describes, and the number of rows.

    pyarrow's description of a damaged footer may end the process.
    """
    file.seek(max(size - 8, 0))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or length + 8 > size:
        raise ValueError("it is not a complete Parquet file")
    file.seek(size - 8 - length)
    try:
        footer, _ = read_structure(file.read(length), _FOOTER)
        leaves = [one for one in footer[2, LIST] if not one.get((5, I32))]
        groups = footer.get((4, LIST), [])
        chunks = [
            _chunk(number, column[3, STRUCT], leaf)
            for number, group in enumerate(groups)
            for column, leaf in zip(group[1, LIST], leaves, strict=True)
        ]
        return chunks, sum(_number(group, 3, I64) for group in groups)
    except (Incomplete, LookupError, TypeError, AttributeError):
        raise ValueError("its footer is damaged") from None


def _chunk(group: int, fields: Fields, leaf: Fields) -> Chunk:
    kind, start = _number(fields, 1, I32), _number(fields, 9, I64)
    if 0 < fields.get((11, I64), 0) < start:
        start = fields[11, I64]
    names = fields[3, LIST]
    column, path = (one.decode(errors="replace") for one in (names[0], b".".join(names)))
    width = _WIDTHS[kind] or leaf.get((2, I32)) or _OFFSET_BYTES
    count, size = _number(fields, 5, I64), _number(fields, 7, I64)
    return Chunk(group, column, path, kind, max(width, 1), count, start, size)


def _costs(file: IO[bytes], chunks: list[Chunk], *, most_pages: int) -> dict[str, _Cost]:
    """Return the cost of each column by its path."""
    found: dict[str, _Cost] = {}
    for chunk in chunks:
        pages = []
        for page in _pages(file, chunk):
            pages.append(page)
            most_pages -= 1
            if most_pages < 0:
                raise ValueError("it has more pages than a file of this size needs")
        found.setdefault(chunk.path, _Cost()).add(_cost(chunk, pages))
    return found


@dataclass(frozen=True)
class _Page:
    """Header of a page; sizes in bytes."""

    is_dictionary: bool
    size: int
    num_values: int
    encoding: int


def _cost(chunk: Chunk, pages: list[_Page]) -> _Cost:
    values = max(chunk.num_values, sum(page.num_values for page in pages if not page.is_dictionary))
    cost = _Cost(sum(page.size for page in pages) + values * chunk.width)
    if chunk.kind != _TEXTS:
        return cost
    dictionary = max((page.size for page in pages if page.is_dictionary), default=0)
    for page in pages:
        if not page.is_dictionary and page.encoding in (*_DICTIONARY, _DELTA):
            longest = page.size if page.encoding == _DELTA else dictionary
            cost.add(_Cost(0, page.num_values * longest, longest))
    return cost


def _pages(file: IO[bytes], chunk: Chunk) -> Iterator[_Page]:
    """Yield the pages that the reader of a column reads."""
    at, end, left = chunk.start, chunk.start + chunk.size, chunk.num_values
    while at < end and left > 0:
        header, length = _header(file, at)
        stored, page = _page(header)
        at += length + stored
        left -= 0 if page.is_dictionary else page.num_values
        yield page


def _header(file: IO[bytes], at: int) -> tuple[Fields, int]:
    """Return the header of a page, and its length in bytes."""
    size = _FIRST_READ
    while size <= _LONGEST_HEADER:
        file.seek(at)
        try:
            return read_structure(file.read(size), {})
        except Incomplete:
            size *= 32
    raise ValueError("the header of a page is cut off")


def _page(header: Fields) -> tuple[int, _Page]:
    """Return the stored size of a page, and what its header contains."""
    kind, size = _number(header, 1, I32), _number(header, 2, I32)
    # Of data in two versions, and of dictionaries.
    inner = header.get(({0: 5, 3: 8, _DICTIONARY_PAGE: 7}.get(kind, 0), STRUCT), _NO_VALUES)
    count, encoding = _number(inner, 1, I32), _number(inner, 4 if kind == 3 else 2, I32)
    return _number(header, 3, I32), _Page(kind == _DICTIONARY_PAGE, size, count, encoding)


def _number(fields: Fields, number: int, kind: int) -> int:
    value: int = fields.get((number, kind), -1)
    if value < 0:
        raise ValueError("its description is damaged")
    return value


def _measured(file: IO[bytes], columns: dict[str, int], groups: list[int] | None) -> Iterator[int]:
    """Yield the bytes of a few rows after another of columns with repeated texts."""
    import pyarrow.parquet

    for path, longest in columns.items():
        rows = max(1, min(4096, _MEASURED_BYTES // max(longest, 1)))
        reader = pyarrow.parquet.ParquetFile(file)
        for batch in reader.iter_batches(batch_size=rows, row_groups=groups, columns=[path]):
            if not batch.num_columns:
                raise ValueError(f"its column {path[:100]!r} cannot be read")
            yield batch.nbytes
