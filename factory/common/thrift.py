"""Read structures of Thrift's compact protocol, in which Parquet describes a file and its pages.

The position is passed on instead of kept in an object, which takes half as long again: a dataset of
10,000 files has millions of numbers.
"""

from __future__ import annotations

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _STRUCT = 1, 2, 3, 7, 8, 9, 12
_NUMBERS = (4, 5, 6)
_DEEPEST = 16


class Incomplete(Exception):
    """Raised when the bytes end before the structure does."""


def read_structure(data: bytes) -> tuple[dict[int, object], int]:
    """Read a structure from the first byte on.

    Returns:
        Its fields by number, texts as bytes and fractions as None; the position after it.

    Raises:
        Incomplete: The bytes end before it does.
        ValueError: It is malformed, or has a map, which Parquet does not use.
    """
    try:
        return _structure(data, 0, 0)
    except IndexError:
        raise Incomplete from None


def read_text(data: bytes, at: int) -> tuple[bytes, int]:
    """Read a text from a position on, and return it and the position after it.

    Raises:
        Incomplete: The bytes end before it does.
        ValueError: It is malformed.
    """
    try:
        return _text(data, at)
    except IndexError:
        raise Incomplete from None


def _structure(data: bytes, at: int, depth: int) -> tuple[dict[int, object], int]:
    _require_shallow(depth)
    found: dict[int, object] = {}
    number = 0
    while head := data[at]:
        at += 1
        kind, step = head & 15, head >> 4
        if step:
            number += step
        else:
            number, at = _zigzag(data, at)
        if kind in _NUMBERS and (value := data[at]) < 128:
            # Most fields: numbers of one byte.
            found[number], at = (value >> 1) ^ -(value & 1), at + 1
        elif kind in (_TRUE, _FALSE):
            found[number] = kind == _TRUE
        else:
            found[number], at = _value(data, at, kind, depth)
    return found, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[object, int]:
    if kind in _NUMBERS:
        return _zigzag(data, at)
    if kind == _BINARY:
        return _text(data, at)
    if kind == _STRUCT:
        return _structure(data, at, depth + 1)
    if kind == _LIST:
        return _list(data, at, depth + 1)
    if kind not in (_BYTE, _DOUBLE):
        raise ValueError(f"its description has a field of type {kind}")
    return None, _end(data, at, 8 if kind == _DOUBLE else 1)


def _list(data: bytes, at: int, depth: int) -> tuple[list[object], int]:
    _require_shallow(depth)
    head, at = data[at], at + 1
    count = head >> 4
    if count == 15:
        count, at = _varint(data, at)
    # Unlike a field, an item that is true or false takes a byte.
    kind = _BYTE if head & 15 in (_TRUE, _FALSE) else head & 15
    found = []
    for _ in range(count):
        value, at = _value(data, at, kind, depth)
        found.append(value)
    return found, at


def _require_shallow(depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError("its description is nested too deep")


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    count, at = _varint(data, at)
    end = _end(data, at, count)
    return data[at:end], end


def _end(data: bytes, at: int, count: int) -> int:
    if at + count > len(data):
        raise Incomplete
    return at + count


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("its description has a number of more than 64 bits")


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at
