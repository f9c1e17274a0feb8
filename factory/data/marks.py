"""Marked images: a CSV file with the columns `recipe` and `index`, which name an image for good.

A row keeps both in every config that contains it, so a mark is valid in shares and unions too.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from pathlib import Path

from factory.common.errors import Fault, UserError
from factory.common.untrusted_files import read_text
from factory.common.whole_files import replace_text
from factory.data.columns import CONFIG_NAME, INDEX, RECIPE

Mark = tuple[str, int]
"""Values of the columns `recipe` and `index`."""
MAX_BYTES = 100_000_000
_HEADER = [RECIPE, INDEX]


def read_marks(path: Path) -> set[Mark]:
    """Read a file of marks; other columns are ignored.

    Raises:
        UserError: It cannot be read, lacks a column, or a line names no image.
    """
    try:
        text = read_text(path, max_bytes=MAX_BYTES)
    except UserError as error:
        wanted = f"expected a CSV file with the columns {' and '.join(_HEADER)}"
        raise UserError(f"{error}; {wanted}") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        names = reader.fieldnames or []
        if missing := [name for name in _HEADER if name not in names]:
            raise UserError(
                f"{path}: has no column {missing[0]}; its first line must be {','.join(_HEADER)}"
            )
        return {_mark(line, path, reader.line_num) for line in reader}
    except csv.Error as error:
        raise UserError(Fault(f"is not CSV ({error})", str(path), reader.line_num)) from None


def _mark(line: dict[str, str | None], path: Path, number: int) -> Mark:
    recipe, index = (line.get(RECIPE) or "").strip(), (line.get(INDEX) or "").strip()
    is_index = index.isascii() and index.isdecimal() and len(index) < 19
    if not is_index or not CONFIG_NAME.fullmatch(recipe):
        found = f"{recipe[:100]!r}, {index[:100]!r}"
        raise UserError(
            Fault(f"expected the name of a config and an index, found {found}", str(path), number)
        )
    return recipe, int(index)


def write_marks(path: Path, marks: Collection[Mark]) -> None:
    """Write marks; the file is replaced in one step.

    Lines of an existing file stay as they are, with their other columns, if their image is marked.

    Raises:
        UserError: As `read_marks`, for an existing file.
    """
    names, kept, there = _HEADER, list[dict[str, str | None]](), set[Mark]()
    if path.exists():
        text = read_text(path, max_bytes=MAX_BYTES)
        reader = csv.DictReader(io.StringIO(text, newline=""))
        there = read_marks(path)
        names = list(reader.fieldnames or names)
        kept = [line for line in reader if _mark(line, path, reader.line_num) in marks]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(kept)
    writer.writerows(dict(zip(_HEADER, one, strict=True)) for one in sorted({*marks} - there))
    replace_text(path, buffer.getvalue())
