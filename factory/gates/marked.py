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
from factory.shards.manifest import GateEntry, Manifest
from factory.shards.parquet import Row

COLUMN = "marked_bad"


class Marked:
    """Flags the images that a file of marks names."""

    name = "marks"
    remembers = False

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Read the marks and look for their images.

        Args:
            path: The file.
            manifest: The dataset's.

        Raises:
            UserError: It does not exist, no mark names an image, or see `read_marks`.
        """
        if not path.is_file():
            writer = command("view OUT")
            raise UserError(
                f"--marks {path}: file not found; mark images in `{writer}`, or "
                f"write a CSV file with the columns {RECIPE} and {INDEX}"
            )
        self._marks = read_marks(path)
        self._hash = sha256(path)
        self._notes = _notes(path, self._marks, manifest)

    def entry(self) -> GateEntry:
        """Return the column, and the hash of the file."""
        return GateEntry(
            columns={COLUMN: "bool"}, method="marked by people", revision=self._hash[:16]
        )

    def begin(self, config: str, rows: ConfigRows) -> None:
        """Keep the marks: they name their config."""

    def measure(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return whether each row is marked."""
        return [{COLUMN: (row[RECIPE], row[INDEX]) in self._marks} for row in rows]

    def notes(self) -> list[str]:
        """Return the marks that no row has."""
        return self._notes


def _notes(path: Path, marks: set[Mark], manifest: Manifest) -> list[str]:
    """Return a note if some marks name no image, before anything is measured.

    Raises:
        UserError: These are all marks.
    """
    # Shares and unions contain rows of these.
    own = {name: one for name, one in manifest.configs.items() if one.kind == "set"}
    failed = {(name, image.index) for name, one in own.items() for image in one.failed}
    unknown = sorted(
        one for one in marks if one[0] not in own or one[1] >= own[one[0]].images or one in failed
    )
    if not unknown:
        return []
    recipe, index = unknown[0]
    hint = "" if recipe in own else f" (no recipe {recipe!r}; {suggest(recipe, sorted(own))})"
    note = (
        f"{path}: {len(unknown):,} of {plural(len(marks), 'mark')} "
        f"{agree(len(unknown), 'names', 'name')} no image of the dataset; the first is "
        f"{recipe},{index}{hint}"
    )
    if len(unknown) == len(marks):
        raise UserError(f"--marks {note}; nothing was changed")
    return [note]
