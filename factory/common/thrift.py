"""Read structures of Thrift's compact protocol, in which Parquet describes a file and its pages."""

from __future__ import annotations

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _STRUCT = 1, 2, 3, 7, 8, 9, 12
_NUMBERS = (4, 5, 6)
_DEEPEST = 16


class Incomplete(Exception):
    """Raised when the bytes end before the structure does."""


class CompactReader:
    """Reads values from bytes, one after another.

    Attributes:
        at: Position of the next byte.
    """

    def __init__(self, data: bytes) -> None:
        """Start at the first byte."""
        self._data = data
        self.at = 0

    def structure(self, depth: int = 0) -> dict[int, object]:
        """Return the fields of a structure by number; texts are bytes, fractions None.

        Raises:
            Incomplete: The bytes end before it does.
            ValueError: It is malformed, or has a map, which Parquet does not use.
        """
        if depth > _DEEPEST:
            raise ValueError("its description is nested too deep")
        found: dict[int, object] = {}
        number = 0
        while (head := self._byte()) != 0:
            kind, step = head & 15, head >> 4
            number = number + step if step else self._zigzag()
            found[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return found

    def text(self) -> bytes:
        """Return the bytes of a text.

        Raises:
            Incomplete: The bytes end before it does.
        """
        return self._take(self._varint())

    def _value(self, kind: int, depth: int) -> object:
        if kind in _NUMBERS:
            return self._zigzag()
        if kind == _STRUCT:
            return self.structure(depth + 1)
        if kind == _LIST:
            return self._list(depth + 1)
        if kind == _BINARY:
            return self.text()
        if kind not in (_BYTE, _DOUBLE):
            raise ValueError(f"its description has a field of type {kind}")
        self._take(8 if kind == _DOUBLE else 1)
        return None

    def _list(self, depth: int) -> list[object]:
        if depth > _DEEPEST:
            raise ValueError("its description is nested too deep")
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        # Unlike a field, an item that is true or false takes a byte.
        kind = _BYTE if head & 15 in (_TRUE, _FALSE) else head & 15
        return [self._value(kind, depth) for _ in range(count)]

    def _byte(self) -> int:
        at = self.at
        self.at = at + 1
        try:
            return self._data[at]
        except IndexError:
            raise Incomplete from None

    def _take(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self._data):
            raise Incomplete
        return self._data[self.at - count : self.at]

    def _varint(self) -> int:
        # Most numbers are one byte.
        value = self._byte()
        if value < 128:
            return value
        value &= 127
        for shift in range(7, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("its description has a number of more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
