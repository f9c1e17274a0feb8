"""Read structures of Thrift's compact protocol, in which Parquet describes a file and its pages.

The position is passed on instead of kept in an object, which takes half as long again: a dataset of
10,000 files has millions of numbers.

A file of others must mean the same here as for pyarrow. pyarrow passes over fields of another type
than the declared one, takes the last of a repeated field, and reads the items of a list as what is
declared, whatever the list says. So a field is found by number and type, and what may differ is
refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

I32, I64, TEXT, LIST, STRUCT = 5, 6, 8, 9, 12
"""Types of fields that Parquet uses, beside others."""
NUMBERS = (4, I32, I64)
_TRUE, _FALSE, _BYTE, _DOUBLE = 1, 2, 3, 7
_DEEPEST = 16

Lists = Mapping[int, tuple[Collection[int], "Lists"]]
"""Declared fields that are lists, by number: types of their items, and the lists in these.

Fields that are structures with lists are there too, with `STRUCT`.
"""
Fields = dict[tuple[int, int], Any]
"""Values by number and type; texts are bytes, fractions None."""


# pyarrow passes over it too, by the types that it names itself.
_UNKNOWN: tuple[Collection[int], Lists] = ((), {})


class Incomplete(Exception):
    """Raised when the bytes end before the structure does."""


def read_structure(data: bytes, lists: Lists) -> tuple[Fields, int]:
    """Read a structure from the first byte on.

    Returns:
        Its fields, and the position after it.

    Raises:
        Incomplete: The bytes end before it does.
        ValueError: It is malformed, has a field twice, a list of another type than declared, or a
            map, which Parquet does not use.
    """
    try:
        return _structure(data, 0, 0, lists)
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


def _structure(data: bytes, at: int, depth: int, lists: Lists) -> tuple[Fields, int]:
    _require_shallow(depth)
    found: Fields = {}
    number = 0
    while head := data[at]:
        at += 1
        kind, step = head & 15, head >> 4
        if step:
            number += step
        else:
            number, at = _zigzag(data, at)
        key = number, kind
        if key in found:
            raise ValueError("its description has a field twice")
        if kind in NUMBERS and (value := data[at]) < 128:
            # Most fields: numbers of one byte.
            found[key], at = (value >> 1) ^ -(value & 1), at + 1
        elif kind in (_TRUE, _FALSE):
            found[key] = kind == _TRUE
        else:
            found[key], at = _value(data, at, kind, depth, *lists.get(number, _UNKNOWN))
    return found, at + 1


def _value(
    data: bytes, at: int, kind: int, depth: int, items: Collection[int], lists: Lists
) -> tuple[Any, int]:
    if kind in NUMBERS:
        return _zigzag(data, at)
    if kind == TEXT:
        return _text(data, at)
    if kind == STRUCT:
        return _structure(data, at, depth + 1, lists)
    if kind == LIST:
        return _list(data, at, depth + 1, items, lists)
    if kind not in (_BYTE, _DOUBLE):
        raise ValueError(f"its description has a field of type {kind}")
    return None, _end(data, at, 8 if kind == _DOUBLE else 1)


def _list(
    data: bytes, at: int, depth: int, items: Collection[int], lists: Lists
) -> tuple[list[Any], int]:
    _require_shallow(depth)
    head, at = data[at], at + 1
    count = head >> 4
    if count == 15:
        count, at = _varint(data, at)
    # Unlike a field, an item that is true or false takes a byte.
    kind = _BYTE if head & 15 in (_TRUE, _FALSE) else head & 15
    if items and count and kind not in items:
        raise ValueError(f"its description has a list of type {kind}")
    found = []
    for _ in range(count):
        value, at = _value(data, at, kind, depth, (), lists)
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
