"""Make an Arrow table of rows without importing pandas.

`pyarrow.Table.from_pylist` imports pandas, to recognise its values. Rows have plain values only,
and the import takes a fifth of the CPU time of a small build whose images are ready.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow

_MOST_BYTES = 2**31 - 1
"""Of a column of text or bytes in one piece; pyarrow cuts larger ones."""


class _LeftToPyarrow(Exception):
    """A column has another type, or values of other types, than those known here."""


def row_table(rows: Sequence[Mapping[str, Any]], schema: pyarrow.Schema) -> pyarrow.Table:
    """Return the table that `pyarrow.Table.from_pylist` returns.

    Args:
        rows: Values by column name; missing values are null.
        schema: Columns and types.
    """
    import pyarrow

    try:
        columns = [_array([row.get(one.name) for row in rows], one.type) for one in schema]
    except _LeftToPyarrow:
        return pyarrow.Table.from_pylist(rows, schema=schema)
    return pyarrow.Table.from_arrays(columns, schema=schema)


def _array(values: Sequence[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    import pyarrow

    types = set(map(type, values))
    if pyarrow.types.is_struct(kind):
        if types - {dict}:
            raise _LeftToPyarrow
        inner = [_array([value.get(one.name) for value in values], one.type) for one in kind]
        return pyarrow.StructArray.from_arrays(inner, fields=list(kind))
    if str(kind) not in _PLAIN:
        raise _LeftToPyarrow
    accepted, empty, buffers = _PLAIN[str(kind)]
    if types - {accepted, NoneType}:
        raise _LeftToPyarrow
    valid = None
    if NoneType in types:
        valid = _bits([value is not None for value in values])
        values = [empty if value is None else value for value in values]
    parts = [valid, *buffers(values)]
    return pyarrow.Array.from_buffers(
        kind, len(values), [None if one is None else pyarrow.py_buffer(one) for one in parts]
    )


def _bits(values: Sequence[bool]) -> Any:
    return np.packbits(np.array(values, bool), bitorder="little")


def _numbers(dtype: str, values: Sequence[float]) -> list[Any]:
    return [np.array(values, dtype)]


def _bytes(values: Sequence[bytes]) -> list[Any]:
    ends = [*accumulate(map(len, values), initial=0)]
    if ends[-1] > _MOST_BYTES:
        raise _LeftToPyarrow
    return [np.array(ends, "int32"), b"".join(values)]


# By Arrow's name of the type: the type of values, the value in place of null, and the buffers.
_PLAIN: dict[str, tuple[type, Any, Callable[[Sequence[Any]], list[Any]]]] = {
    "int32": (int, 0, partial(_numbers, "int32")),
    "int64": (int, 0, partial(_numbers, "int64")),
    "float": (float, 0.0, partial(_numbers, "float32")),
    "double": (float, 0.0, partial(_numbers, "float64")),
    "bool": (bool, False, lambda values: [_bits(values)]),
    "binary": (bytes, b"", _bytes),
    "string": (str, "", lambda values: _bytes([value.encode() for value in values])),
}
