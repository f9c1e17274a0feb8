"""Flag the images that people marked in `data-factory view`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factory.common.errors import UserError
from factory.common.program import command
from factory.common.text import agree, plural, suggest
from factory.common.whole_files import sha256
from factory.data.columns import INDEX, RECIPE
from factory.data.marks import Mark, read_marks
from factory.gates.base import ConfigRows
from factory.shards.manifest import GateEntry
from factory.shards.parquet import Row

COLUMN = "marked_bad"


class Marked:
    """Flags the images that a file of marks names."""

    name = "marks"
    # The notes need every row.
    remembers = True

    def __init__(self, path: Path) -> None:
        """Read the marks.

        Raises:
            UserError: It does not exist, or see `read_marks`.
        """
        if not path.is_file():
            writer = command("view OUT")
            raise UserError(
                f"--marks {path}: file not found; mark images in `{writer}`, or "
                f"write a CSV file with the columns {RECIPE} and {INDEX}"
            )
        self._path, self._marks = path, read_marks(path)
        self._hash = sha256(path)
        self._found: set[Mark] = set()
        self._recipes: set[str] = set()

    def entry(self) -> GateEntry:
        """Return the column, and the hash of the file."""
        return GateEntry(
            columns={COLUMN: "bool"}, method="marked by people", revision=self._hash[:16]
        )

    def begin(self, config: str, rows: ConfigRows) -> None:
        """Keep the marks: they name their config."""

    def measure(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return whether each row is marked."""
        keys = [(row[RECIPE], row[INDEX]) for row in rows]
        self._found.update(self._marks.intersection(keys))
        self._recipes.update(recipe for recipe, _ in keys)
        return [{COLUMN: key in self._marks} for key in keys]

    def notes(self) -> list[str]:
        """Return the marks that no row has.

        Raises:
            UserError: These are all marks.
        """
        unknown = sorted(self._marks - self._found)
        if not unknown:
            return []
        recipe, index = unknown[0]
        hint = ""
        if recipe not in self._recipes:
            hint = f" (no recipe {recipe!r}; {suggest(recipe, sorted(self._recipes))})"
        note = (
            f"{self._path}: {len(unknown):,} of {plural(len(self._marks), 'mark')} "
            f"{agree(len(unknown), 'names', 'name')} no image of the dataset; the first is "
            f"{recipe},{index}{hint}"
        )
        if len(unknown) == len(self._marks):
            raise UserError(f"--marks {note}; nothing was changed")
        return [note]
