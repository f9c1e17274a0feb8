"""Read tables of the format FlatBuffers, in which Arrow describes record batches."""

from __future__ import annotations

import struct
from typing import Any


class Table:
    """A table; its fields have a slot each, and may be absent.

    Every method raises `struct.error` if the bytes end before what they describe.
    """

    def __init__(self, data: bytes, at: int) -> None:
        """Take the table that begins at byte `at`."""
        self._data, self._at = data, at
        start = at - self._read("<i", at)
        size = self._read("<H", start)
        self._slots = [self._read("<H", start + place) for place in range(4, size, 2)]

    @classmethod
    def root(cls, data: bytes) -> Table:
        """Return the table that a whole message contains."""
        (at,) = struct.unpack_from("<I", data)
        return cls(data, at)

    def has(self, slot: int) -> bool:
        """Return whether the table has a field."""
        return slot < len(self._slots) and self._slots[slot] > 0

    def number(self, slot: int, form: str) -> int:
        """Return an integer in the form of `struct`; 0 if it is absent."""
        if not self.has(slot):
            return 0
        return int(self._read(f"<{form}", self._at + self._slots[slot]))

    def table(self, slot: int) -> Table | None:
        """Return a table inside this one."""
        return Table(self._data, self._target(slot)) if self.has(slot) else None

    def count(self, slot: int) -> int:
        """Return the number of items of a list; 0 if it is absent."""
        return int(self._read("<I", self._target(slot))) if self.has(slot) else 0

    def pairs(self, slot: int) -> list[tuple[int, ...]]:
        """Return a list of two integers of 8 bytes each."""
        return self._items(slot, "qq")

    def triples(self, slot: int) -> list[tuple[int, ...]]:
        """Return a list of three integers of 8, 4 and 8 bytes."""
        return self._items(slot, "qi4xq")

    def _items(self, slot: int, form: str) -> list[tuple[int, ...]]:
        if not self.has(slot):
            return []
        at, size = self._target(slot), struct.calcsize(f"<{form}")
        end = at + 4 + self._read("<I", at) * size
        if end > len(self._data):
            raise struct.error("the list is cut off")
        found = [*struct.iter_unpack(f"<{form}", self._data[at + 4 : end])]
        if any(number < 0 for item in found for number in item):
            raise struct.error("a size is negative")
        return found

    def _target(self, slot: int) -> int:
        place = self._at + self._slots[slot]
        return int(place + self._read("<I", place))

    def _read(self, form: str, at: int) -> Any:
        if at < 0:
            raise struct.error("a place is negative")
        return struct.unpack_from(form, self._data, at)[0]
