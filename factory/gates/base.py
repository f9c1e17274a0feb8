"""What a gate is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from factory.common.row_images import read_image
from factory.data.columns import IMAGE, INDEX
from factory.shards.manifest import GateEntry
from factory.shards.parquet import Row


class Gate(Protocol):
    """Measures pictures.

    Attributes:
        name: Key in the manifest.
        remembers: Whether what it says of a picture depends on earlier ones of the config; such a
            gate sees every shard in order, every time.
    """

    name: str
    remembers: bool

    def entry(self) -> GateEntry:
        """Return what the manifest records: columns, model, thresholds."""
        ...

    def begin(self, config: str) -> None:
        """Forget the pictures of other configs."""
        ...

    def measure(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return the values of its columns for each row."""
        ...

    def notes(self) -> list[str]:
        """Return what limits what was measured, in words; after the last row."""
        ...


def picture_of(row: Row) -> Any:
    """Return a row's picture as a PIL image, RGB."""
    return read_image(row[IMAGE], where=f"image {row[INDEX]}")
