"""Convert columns of rows to Arrow arrays.

`pyarrow.array` does the same, but imports pandas first, which takes half a second and 50 MB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow

# Types of `array`, which accepts neither numbers that do not fit nor fractions for integers.
_NUMBERS = {"int32": "i", "int64": "q", "float": "f", "double": "d"}


def arrow_array(values: Sequence[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    """Return a column as an Arrow array.

    Args:
        values: One value per row: None, a number, a boolean, a text, bytes, or a mapping.
        kind: Type of the column: int32, int64, float32, float64, bool, string, binary, or a struct
            of these.

    Raises:
        TypeError: A value has another type.
        OverflowError: A number is too large for its type, or the texts exceed 2 GiB.
    """
    import pyarrow

    missing = [value is None for value in values]
    validity = pyarrow.py_buffer(_bits(not one for one in missing)) if any(missing) else None
    children = None
    if pyarrow.types.is_struct(kind):
        parts = {
            part.name: [None if one is None else one.get(part.name) for one in values]
            for part in kind
        }
        children = [arrow_array(parts[part.name], part.type) for part in kind]
    buffers = [] if children else _buffers(values, kind)
    return pyarrow.Array.from_buffers(kind, len(values), [validity, *buffers], children=children)


def _buffers(values: Sequence[Any], kind: pyarrow.DataType) -> list[pyarrow.Buffer]:
    """Return the buffers of a column after its validity bits."""
    import pyarrow

    if str(kind) in _NUMBERS:
        numbers = array(_NUMBERS[str(kind)], (0 if one is None else one for one in values))
        return [pyarrow.py_buffer(numbers)]
    if pyarrow.types.is_boolean(kind):
        return [pyarrow.py_buffer(_bits(0 if one is None else one for one in values))]
    texts = [b"" if one is None else one for one in values]
    if pyarrow.types.is_string(kind):
        texts = [b"" if one is None else str.encode(one) for one in values]
    offsets = array("i", accumulate(map(len, texts), initial=0))
    return [pyarrow.py_buffer(offsets), pyarrow.py_buffer(b"".join(texts))]


def _bits(values: Iterable[Any]) -> bytes:
    return np.packbits(np.array(array("b", values)), bitorder="little").tobytes()
