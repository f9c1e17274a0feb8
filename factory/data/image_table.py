"""Read a CSV or Parquet file whose rows name image files, with their classes and other columns.

    path,label
    cat/IMG_0001.JPG,cat
    more/b.png,dog

Paths are relative to the folder of the file and must not leave it.
"""

from __future__ import annotations

import csv
import io
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.common.errors import Fault, UserError
from factory.common.local_paths import is_inside
from factory.common.redaction import cut_line
from factory.common.row_options import has_row_options, row_option
from factory.common.text import agree, plural
from factory.common.untrusted_files import read_text
from factory.data.image_classes import SPLITS

if TYPE_CHECKING:
    from collections.abc import Collection

    import datasets
    import pyarrow as pa

PARQUET = ".parquet"
TABLES = frozenset((".csv", ".tsv", PARQUET))
PATH_COLUMNS = ("path", "image", "file_name", "filename", "image_path", "filepath", "file", "img")
"""Names of columns of paths, in any case; the first one that is found is read."""
_SPLIT = "split"
_DELIMITERS = ",;\t"
_MAX_CSV_BYTES = 64_000_000
_FORM = "write a header such as path,label"


def is_table(path: Path) -> bool:
    """Return whether a path is a file that may be a table of images."""
    return path.suffix.lower() in TABLES and path.is_file()


def read_csv(file: Path, *, texts: Collection[str]) -> datasets.Dataset:
    """Read a CSV file (UTF-8; separated by commas, semicolons or tabs).

    Args:
        file: Its first line has the names of the columns; unnamed columns are left out.
        texts: Columns that are not converted to numbers, in lower case.

    Returns:
        The rows; empty cells are null, columns of numbers are int64 or float64.

    Raises:
        UserError: It cannot be read, a line has another number of cells than the first one, or
            there are no rows.
    """
    import datasets as hf
    import pyarrow as pa

    header, rows = _cells(file)
    columns = zip(*rows, strict=True)
    table = {
        name: _typed(cells, as_text=name.lower() in texts)
        for name, cells in zip(header, columns, strict=True)
        if name
    }
    return hf.Dataset(pa.table(table))


def _cells(file: Path) -> tuple[list[str], list[list[str]]]:
    """Return the header and the other lines that are not empty."""
    text = read_text(file, max_bytes=_MAX_CSV_BYTES)
    first = text.lstrip().partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    lines = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    rows: list[list[str]] = []
    try:
        for cells in lines:
            if not any(cells):
                continue
            rows.append([cell.strip() for cell in cells])
            if len(cells) != len(rows[0]):
                found = f"has {len(cells)} cells, the header {len(rows[0])}; quote cells"
                problem = f"{found} that contain the separator {delimiter!r}"
                raise UserError(Fault(problem, file=str(file), line=lines.line_num))
    except csv.Error as error:
        raise UserError(
            Fault(f"is not CSV ({error})", file=str(file), line=lines.line_num)
        ) from None
    if len(rows) < 2:
        raise UserError(Fault(f"contains no rows; {_FORM}, and one line per image", file=str(file)))
    names = [name for name in rows[0] if name]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(Fault(f"has several columns {twice[0]!r}", file=str(file), line=1))
    return rows[0], rows[1:]


def _typed(cells: tuple[str, ...], *, as_text: bool) -> pa.Array:
    import pyarrow as pa

    found = pa.array([cell or None for cell in cells], pa.string())
    for kind in () if as_text else (pa.int64(), pa.float64()):
        try:
            return found.cast(kind)
        except pa.ArrowInvalid:
            continue
    return found


def with_images(
    rows: datasets.Dataset, file: Path, *, column: str | None, skip_unreadable: bool
) -> datasets.Dataset:
    """Replace the column of paths by a column of images, which are not read.

    Args:
        rows: Of the table.
        file: The table, in the folder of the images.
        column: The column of paths; default: the first of `PATH_COLUMNS`.
        skip_unreadable: Whether files may be missing; reading them reports it.

    Raises:
        UserError: There is no such column, or rows name addresses, files outside the folder or,
            unless allowed, missing files; the message names the first.
    """
    import datasets as hf
    import pyarrow as pa

    column = _path_column(rows, file, column)
    names = rows.data.column(column).to_pylist()
    paths = [None if name is None else _place(name, file.parent) for name in names]
    for number, path in enumerate(paths):
        fault = path and _fault(path, file.parent)
        if fault:
            shown = repr(cut_line(names[number], 200))
            raise UserError(f"{file}: row {number}: {shown} {fault}")
    missing = [number for number, path in enumerate(paths) if path and not os.path.isfile(path)]  # noqa: PTH113
    if missing and not skip_unreadable:
        first = repr(cut_line(names[missing[0]], 200))
        raise UserError(
            f"{file}: {len(missing):,} of {plural(len(paths), 'file')} "
            f"{agree(len(missing), 'does', 'do')} not exist (the first is row "
            f"{missing[0]}: {first}); paths are relative to {file.parent}; correct them, or skip "
            "these rows with --skip-unreadable"
        )
    images = pa.array([path and {"path": path, "bytes": None} for path in paths], hf.Image.pa_type)
    place = rows.column_names.index(column)
    features = rows.features.copy()
    features[column] = hf.Image(decode=False)
    return hf.Dataset(
        rows.data.set_column(place, column, images), info=hf.DatasetInfo(features=features)
    )


def _path_column(rows: datasets.Dataset, file: Path, column: str | None) -> str:
    known: list[str] = rows.column_names
    if column is None:
        lower = {name.lower(): name for name in reversed(known)}
        column = next((lower[name] for name in PATH_COLUMNS if name in lower), None)
        advice = _FORM
        if has_row_options():
            advice += f", or name the column with {row_option('image-column')}"
    else:
        column, advice = (column if column in known else None), f"there is no column {column!r}"
    if column is None:
        shown = cut_line(", ".join(known), 200)
        raise UserError(f"{file}: no column of image paths among {shown}; {advice}")
    kind = str(getattr(rows.features[column], "dtype", "other"))
    if "string" not in kind:
        raise UserError(f"{file}: column {column!r} is {kind}; expected paths of images")
    return column


def _place(name: str, folder: Path) -> str:
    path = os.path.join(folder, name)  # noqa: PTH118 (a table may have a million rows)
    if "\\" in name and not os.path.lexists(path):
        # Written on Windows.
        path = os.path.join(folder, name.replace("\\", "/"))  # noqa: PTH118
    return path


def _fault(path: str, folder: Path) -> str:
    """Return why a path is not followed, or nothing."""
    if "://" in path:
        return "is an address, which is not followed; download the images"
    inner, name = os.path.split(path)
    linked = os.path.islink(path) or name in ("", ".", "..")  # noqa: PTH114
    if "\0" in path or not (is_inside(Path(path), folder) if linked else _holds(folder, inner)):
        return f"is not inside {folder} and is not read; put the images there, or the file"
    return ""


@lru_cache(maxsize=4096)
def _holds(folder: Path, inner: str) -> bool:
    return is_inside(Path(inner), folder)


def by_split(rows: datasets.Dataset, file: Path) -> tuple[dict[str, datasets.Dataset], bool]:
    """Return the rows by their column `split`, or as one split named by the file, else `train`.

    Returns:
        The splits, and whether column or file name them.

    Raises:
        UserError: A row has no split.
    """
    column = next((name for name in rows.column_names if name.lower() == _SPLIT), None)
    if column is None:
        start = re.split(r"[-_. ]", file.stem.lower())[0]
        return {SPLITS.get(start, "train"): rows}, start in SPLITS
    numbers: dict[str, list[int]] = {}
    values: list[Any] = rows.data.column(column).to_pylist()
    for number, value in enumerate(values):
        if value is None:
            raise UserError(f"{file}: row {number}: column {column!r} is empty; name its split")
        numbers.setdefault(SPLITS.get(str(value).lower(), str(value)), []).append(number)
    return {name: rows.select(found) for name, found in numbers.items()}, True
