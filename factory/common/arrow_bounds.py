"""Refuse Arrow files of others whose rows would take far more memory than the file itself.

Buffers may be compressed, and several may be at the same place. Only the descriptions of the record
batches are read, and the 8 bytes before a compressed buffer that give its size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from factory.common.errors import UserError
from factory.common.flatbuffers import Table
from factory.common.size_limits import NOTHING, Extra, most_bytes, refuse_expansion

_FILE = b"ARROW1"
_CONTINUES = 0xFFFFFFFF
_DICTIONARY, _BATCH = 2, 3
_LONGEST_DESCRIPTION = 64 << 20


def require_bounded_arrow(path: Path, *, shown: str, extra: Extra = NOTHING) -> None:
    """Check that the rows of a file take at most 128 MiB and 100 times its size.

    Args:
        path: An Arrow file or stream.
        shown: Its name in messages.
        extra: What its rows will take in addition.

    Raises:
        UserError: They may take more; or columns repeat values by reference.
        ValueError: The file is damaged.
    """
    size = path.stat().st_size
    total = num_rows = num_values = 0
    try:
        with path.open("rb") as file:
            for start, batch in _batches(file, size, shown):
                nodes, buffers = batch.pairs(1), batch.pairs(2)
                num_rows += abs(batch.number(0, "q"))
                num_values += sum(length for length, _ in nodes)
                is_compressed = batch.table(3) is not None
                for place, length in buffers:
                    total += _expanded(file, start + place, length) if is_compressed else length
                declared = extra.require_bounded(num_rows, num_values, size=size, shown=shown)
                # Some columns have a length and no buffers.
                if total + num_values + declared > most_bytes(size):
                    refuse_expansion(shown, size, advice="write it again without compression")
    except (struct.error, OverflowError):
        raise ValueError("the description of its rows is damaged") from None


def _expanded(file: IO[bytes], place: int, length: int) -> int:
    """Return the size of a compressed buffer; -1 says that it is stored as it is."""
    if not length:
        return 0
    file.seek(place)
    (expanded,) = struct.unpack("<q", file.read(8))
    if expanded < -1:
        raise ValueError("the size of a compressed buffer is negative")
    return length if expanded == -1 else int(expanded)


def _batches(file: IO[bytes], size: int, shown: str) -> Iterator[tuple[int, Table]]:
    """Yield where the buffers of each record batch start, and its description."""
    for place in _places(file, size):
        found = _message(file, place)
        if found is None:
            return
        start, message = found
        batch = message.table(2)
        kind = message.number(1, "B")
        if kind == _DICTIONARY or (kind == _BATCH and batch and batch.count(4)):
            raise UserError(
                f"{shown}: has columns whose rows refer to shared values (dictionaries or views), "
                "which are not read; write plain columns, or Parquet"
            )
        if kind == _BATCH and batch:
            yield start, batch


def _places(file: IO[bytes], size: int) -> Iterator[int]:
    """Yield where messages start: as a stream has them, or as the footer of a file lists them."""
    if file.read(len(_FILE)) == _FILE:
        file.seek(size - len(_FILE) - 4)
        (length,) = struct.unpack("<i", file.read(4))
        file.seek(size - len(_FILE) - 4 - length)
        footer = Table.root(file.read(length))
        for slot in (2, 3):
            yield from (place for place, _, _ in footer.triples(slot))
        return
    place = 0
    while place < size:
        yield place
        found = _message(file, place)
        if found is None:
            return
        start, message = found
        place = start + max(0, message.number(3, "q"))


def _message(file: IO[bytes], place: int) -> tuple[int, Table] | None:
    """Return where the body of a message starts, and its description; None at the end."""
    file.seek(place)
    head = file.read(8)
    (length,) = struct.unpack("<I", head[:4])
    start = place + 4
    if length == _CONTINUES:
        (length,) = struct.unpack("<I", head[4:])
        start += 4
    if not length:
        return None
    if length > _LONGEST_DESCRIPTION:
        raise ValueError("the description of its rows is damaged")
    file.seek(start)
    return start + length, Table.root(file.read(length))
