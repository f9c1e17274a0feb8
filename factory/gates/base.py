"""The interface of quality gates."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from factory.common.row_images import read_image
from factory.data.columns import IMAGE, INDEX
from factory.shards.manifest import GateEntry
from factory.shards.parquet import Row


@dataclass(frozen=True)
class ConfigRows:
    """All rows of a config, for gates that need them before they can measure one.

    Attributes:
        count: Number of rows.
        read: Reads them from the files, shard by shard.
    """

    count: int
    read: Callable[[], Iterable[Sequence[Row]]]

    def __iter__(self) -> Iterator[Row]:
        """Read the rows; a shard at a time is in memory."""
        for shard in self.read():
            yield from shard


class Gate(Protocol):
    """Measures images.

    Attributes:
        name: Key in the manifest.
        remembers: Whether it gets every row every time, in order: because results depend on other
            images of the config, or because it decides itself which rows to measure.
    """

    name: str
    remembers: bool

    def entry(self) -> GateEntry:
        """Return the gate's manifest entry: columns, model, thresholds."""
        ...

    def begin(self, config: str, rows: ConfigRows) -> None:
        """Forget the images of other configs; `rows` are read only if the gate iterates."""
        ...

    def measure(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return the values of the gate's columns for each row."""
        ...

    def notes(self) -> list[str]:
        """Return limitations of the measurement as text; called after the last row.

        The dataset is changed by then: what a gate refuses, it refuses before.
        """
        ...


def image_of(row: Row) -> Any:
    """Return a row's image as a PIL image, RGB."""
    return read_image(row[IMAGE], where=f"image {row[INDEX]}")
