"""A fault of a dataset: file, location, found and expected value."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from factory.common.text import cut

MOST_A_FILE = 5
"""Maximum number of faulty rows listed per file; the rest is counted."""


@dataclass(frozen=True)
class SetFault:
    """A fault of a dataset.

    Attributes:
        file: Relative to the dataset directory.
        what: Part of the file: `hash`, `schema`, a column, a key.
        found: Found value.
        expected: Expected value.
        row: Row of the file, from 0, or None for the whole file.
    """

    file: str
    what: str
    found: str
    expected: str
    row: int | None = None

    def __str__(self) -> str:
        row = f" row {self.row}" if self.row is not None else ""
        return f"{self.file}:{row} {self.what}: found {self.found}, expected {self.expected}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fault as plain values."""
        return asdict(self)


def first_few(faults: Iterable[SetFault]) -> list[SetFault]:
    """Return the first faults of a file, and one that counts the others."""
    every = list(faults)
    rest = len(every) - MOST_A_FILE
    if rest <= 0:
        return every
    more = SetFault(every[0].file, "rows", f"{rest} more faults like these", "none")
    return [*every[:MOST_A_FILE], more]


def short(value: object) -> str:
    """Return a value as short text for messages."""
    return cut(repr(value), 60)
