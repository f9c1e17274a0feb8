"""Refuse CSV, JSON and text files of others whose rows would take far more memory than the file.

Every row has every column: a few bytes per line, with a name of its own in each or many names in
the first, give gigabytes of missing values. Compressed files are not read at all.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from factory.common.errors import UserError
from factory.common.size_limits import Extra, most_bytes, refuse_expansion

# gzip, bzip2, xz, lz4, zstd, zip (also empty or divided), rar, 7z: by what they begin with.
_COMPRESSED = (
    *(b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd"),
    *(b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08", b"Rar!", b"7z\xbc\xaf\x27\x1c"),
)
# pandas goes by the name: it expands a file in an old format that begins with something else.
_SUFFIXES = frozenset((".gz", ".bz2", ".xz", ".lzma", ".lz4", ".zst", ".zip", ".tar", ".tgz"))
_BLOCK = 1 << 20
_CELL_BYTES = 8
# A text with its quotes, and the colon that follows the name of a value.
_TEXT = re.compile(rb'("[^"\\]*+(?:\\.?[^"\\]*+)*+(?:"|\Z))(\s*+:)?', re.DOTALL)
_DEEPEST = 200


def require_bounded_text(
    path: Path, *, kind: str, shown: str, extra: Extra, separator: str
) -> None:
    """Check that the rows of a file take at most 128 MiB and 100 times its size.

    Raises:
        UserError: They may take more; or the file is compressed.
        ValueError: The file is damaged.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if path.suffix.lower() in _SUFFIXES or file.read(8).startswith(_COMPRESSED):
            raise UserError(f"{shown}: is compressed, and not read; unpack it")
    count = _Counts(_header_cells(path, separator) if kind == "csv" else 1)
    size = path.stat().st_size
    with path.open("rb") as file:
        while lines := file.readlines(_BLOCK):
            count.add(b"".join(lines), is_json=kind == "json")
            declared = extra.require_bounded(count.rows, count.values, size=size, shown=shown)
            if declared + count.rows * count.columns * _CELL_BYTES > most_bytes(size):
                advice = "write it again so that every row has the same few columns"
                refuse_expansion(shown, size, advice=advice)


@dataclass
class _Counts:
    """Upper bounds of what a file contains, as far as it was read."""

    columns: int
    rows: int = 1
    values: int = 1
    names: set[bytes] = field(default_factory=set)
    depth: int = 0

    def add(self, lines: bytes, *, is_json: bool) -> None:
        """Count what some lines contain; in JSON, a text is within a line."""
        rows = lines.count(b"\n") + lines.count(b"\r")
        if is_json:
            self.names.update(text for text, colon in _TEXT.findall(lines) if colon)
            self.columns = len(self.names)
            lines = _TEXT.sub(b"", lines)
            self._nest(lines)
        self.values += rows + lines.count(b",")
        self.rows += lines.count(b"{") if is_json else rows

    def _nest(self, bare: bytes) -> None:
        """Follow the depth of lists and objects: the parser calls itself for each level."""
        signs = np.frombuffer(bare, dtype=np.uint8)
        steps = np.isin(signs, [*b"[{"]).astype(np.int8) - np.isin(signs, [*b"]}"])
        depths = self.depth + np.cumsum(steps, dtype=np.int64)
        if len(depths):
            self.depth = int(depths[-1])
            if depths.max() > _DEEPEST:
                raise ValueError(f"it is nested deeper than {_DEEPEST} levels")


def _header_cells(path: Path, separator: str) -> int:
    """Return the number of columns: pandas takes it from the first two lines."""
    longest = csv.field_size_limit(path.stat().st_size + 1)
    # Of this encoding, every sequence of bytes is valid.
    with path.open(encoding="latin-1", newline="") as file:
        lines = csv.reader(file, delimiter=separator)
        filled = (cells for cells in lines if len(cells) > 1 or "".join(cells).strip())
        try:
            return max((len(cells) for cells in islice(filled, 2)), default=1)
        except csv.Error as error:
            raise ValueError(f"it is not CSV ({error})") from None
        finally:
            csv.field_size_limit(longest)
