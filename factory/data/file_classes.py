"""Check that all files of a dataset number their classes alike.

Each Parquet or Arrow file of the library datasets names its classes. datasets takes the names of
the first file for all of them: the numbers of a file with another order would get wrong names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError
from factory.common.redaction import cut_line
from factory.data.row_bounds import schema_of

if TYPE_CHECKING:
    import datasets

_LONGEST = 80
_NOTES = b"huggingface"


def require_same_classes(
    shown: str,
    module: str,
    data_files: Mapping[str, Sequence[str]],
    loaded: datasets.DatasetDict,
) -> None:
    """Compare the class names of each file with those that the dataset was loaded with.

    A list that only continues another one numbers its classes in the same way.

    Raises:
        UserError: A file has other classes, or another order.
    """
    import datasets as hf

    if module not in ("parquet", "arrow"):
        return
    features = next(iter(loaded.values())).features
    known = {name: one.names for name, one in features.items() if isinstance(one, hf.ClassLabel)}
    compared: Any = None
    for path in (one for paths in data_files.values() for one in paths) if known else ():
        schema = schema_of(Path(path), module, is_checked=True)
        if _says_the_same(schema, compared):
            continue
        compared = schema
        for column, own in hf.Features.from_arrow_schema(schema).items():
            if column in known and isinstance(own, hf.ClassLabel):
                require_same(f"{shown}: {Path(path).name}", column, own.names, known[column])


def _says_the_same(schema: Any, other: Any) -> bool:
    """Return whether two files have the same columns and the same notes of datasets on them."""
    notes = [one and (one.metadata or {}).get(_NOTES) for one in (schema, other)]
    return other is not None and notes[0] == notes[1] and bool(schema.equals(other))


def require_same(file: str, column: str, own: Sequence[str], known: Sequence[str]) -> None:
    """Compare the class names of a file with those of the others.

    Raises:
        UserError: They differ.
    """
    for number, (name, other) in enumerate(zip(own, known, strict=False)):
        if name != other:
            raise UserError(
                f"{file}: class {number} of column {column!r} is {cut_line(name, _LONGEST)} there "
                f"and {cut_line(other, _LONGEST)} in other files or the card; write all files with "
                "the same class names in the same order"
            )
