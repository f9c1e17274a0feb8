"""Refuse files of others whose rows would take far more memory than the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.common.arrow_bounds import require_bounded_arrow
from factory.common.parquet_bounds import require_bounded_file, require_footer
from factory.common.size_limits import Extra
from factory.data.text_bounds import require_bounded_text

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

_PLAIN_BYTES = 8
_METADATA = {".csv": "csv", ".jsonl": "json", ".parquet": "parquet", ".zip": "text"}


def require_bounded_rows(
    shown: str,
    module: str,
    data_files: Mapping[str, Sequence[str]],
    features: datasets.Features | None,
    *,
    separator: str = ",",
) -> None:
    """Check the files of a dataset, each by its own size; see `factory.common.size_limits`.

    Raises:
        UserError: The rows of a file may take more than its size allows.
        ValueError: A file is damaged.
        OSError: A file cannot be read.
    """
    extra: Extra | None = None
    for path in map(Path, chain.from_iterable(data_files.values())):
        # Of an image folder, only the files that list the images have rows.
        kind = _METADATA.get(path.suffix.lower(), "") if module == "imagefolder" else module
        name = f"{shown}: {path.name}"
        if not kind:
            continue
        # datasets takes the types of the first file for all.
        extra = extra or _extra(features, schema_of(path, kind))
        if kind == "parquet":
            require_bounded_file(path, shown=name, extra=extra)
        elif kind == "arrow":
            require_bounded_arrow(path, shown=name, extra=extra)
        else:
            require_bounded_text(path, kind=kind, shown=name, extra=extra, separator=separator)


def schema_of(path: Path, kind: str, *, is_checked: bool = False) -> pa.Schema | None:
    """Return the columns and types that a file defines itself, without reading rows.

    Args:
        path: A local file.
        kind: Module of datasets that reads it.
        is_checked: Whether the description of a Parquet file was checked already.
    """
    import pyarrow as pa
    import pyarrow.parquet

    if kind == "parquet":
        if not is_checked:
            require_footer(path)
        return pyarrow.parquet.read_schema(path)
    if kind != "arrow":
        return None
    with pa.memory_map(str(path)) as file:
        try:
            return pa.ipc.open_stream(file).schema
        except (OSError, pa.ArrowInvalid):
            return pa.ipc.open_file(file).schema


def _extra(features: datasets.Features | None, found: pa.Schema | None) -> Extra:
    """Return the additional bytes of rows, e.g. of declared columns that the file lacks."""
    import datasets as hf

    if features is None and found is None:
        return Extra()
    names = set(found.names) if found is not None else set()
    declared = features or hf.Features.from_arrow_schema(found)
    schema = declared.arrow_schema
    absent = sum(_PLAIN_BYTES for name in schema.names if name not in names)
    return Extra(
        per_row=absent + sum(_fixed_bytes(kind) for kind in schema.types),
        per_value=sum(_fixed_bytes(item) for kind in schema.types for item in _items(kind)),
    )


def _fixed_bytes(kind: pa.DataType) -> int:
    """Return the bytes that a missing value of a type takes because of its fixed length."""
    import pyarrow as pa

    if hasattr(kind, "shape"):
        return int(prod(side or 1 for side in kind.shape)) * _PLAIN_BYTES
    if pa.types.is_fixed_size_binary(kind):
        return int(kind.byte_width)
    if pa.types.is_fixed_size_list(kind):
        item = kind.value_type
        return int(kind.list_size * max(_fixed_bytes(item), _PLAIN_BYTES))
    if pa.types.is_struct(kind):
        return sum(_fixed_bytes(kind.field(place).type) for place in range(kind.num_fields))
    return 0


def _items(kind: Any) -> Iterator[pa.DataType]:
    """Yield the types of the items of lists of any length, at every level."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        for place in range(kind.num_fields):
            yield from _items(kind.field(place).type)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield kind.value_type
        yield from _items(kind.value_type)
    elif pa.types.is_fixed_size_list(kind):
        yield from _items(kind.value_type)
