"""Refuse CSV, JSON and text files of others whose rows would take far more memory than the file.

Every row has every column: a few bytes per line, with a name of its own in each or many names in
the first, give gigabytes of missing values. Compressed files are not read at all.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from factory.common.errors import UserError
from factory.common.size_limits import Extra, most_bytes, refuse_expansion

# gzip, bzip2, xz, lz4, zstd, zip (also empty or divided), rar, 7z: by what they begin with.
_COMPRESSED = (
    *(b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd"),
    *(b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08", b"Rar!", b"7z\xbc\xaf\x27\x1c"),
)
_BLOCK = 1 << 20
_CELL_BYTES = 8
_KEY = re.compile(rb'"([^"\\]{0,4096}(?:\\.[^"\\]{0,4096}){0,99})"\s{0,99}:')
_LONGEST_KEY = 8192


def require_bounded_text(
    path: Path, *, kind: str, shown: str, extra: Extra, separator: str
) -> None:
    """Check that the rows of a file take at most 128 MiB and 100 times its size.

    Args:
        path: The file.
        kind: `csv`, `json` or `text`.
        shown: Its name in messages.
        extra: What its rows will take in addition.
        separator: Of the cells of a CSV file.

    Raises:
        UserError: They may take more; or the file is compressed.
        ValueError: The file is damaged.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if file.read(8).startswith(_COMPRESSED):
            raise UserError(f"{shown}: is compressed, and not read; unpack it")
    size = path.stat().st_size
    columns = _header_cells(path, separator) if kind == "csv" else 1
    names: set[bytes] = set()
    num_rows = num_values = 1
    for block, before in _blocks(path):
        rows = block.count(b"\n") + block.count(b"\r")
        num_values += rows + block.count(b",")
        num_rows += block.count(b"{") if kind == "json" else rows
        if kind == "json":
            names.update(_KEY.findall(before + block))
            columns = len(names)
        declared = extra.require_bounded(num_rows, num_values, size=size, shown=shown)
        if declared + num_rows * columns * _CELL_BYTES > most_bytes(size):
            advice = "write it again so that every row has the same few columns"
            refuse_expansion(shown, size, advice=advice)


def _header_cells(path: Path, separator: str) -> int:
    """Return the number of columns: pandas takes it from the first two lines."""
    # Of this encoding, every sequence of bytes is valid.
    with path.open(encoding="latin-1", newline="") as file:
        lines = csv.reader(file, delimiter=separator)
        filled = (cells for cells in lines if len(cells) > 1 or "".join(cells).strip())
        try:
            return max((len(cells) for cells in islice(filled, 2)), default=1)
        except csv.Error as error:
            raise ValueError(f"it is not CSV ({error})") from None


def _blocks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield parts of a file, each with the end of the one before."""
    before = b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block, before
            before = block[-_LONGEST_KEY:]
