"""Read captions from text files, tables and datasets; each source is read once per process."""

from __future__ import annotations

import csv
import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from factory.common.console import log
from factory.common.errors import UserError
from factory.common.text import some

_Pair = tuple[str, str | None]
_MAX_BYTES = 1 << 30
"""All captions are kept in memory, hence the limit."""
# Skips the byte order mark that spreadsheets write.
_ENCODING = "utf-8-sig"


@dataclass(frozen=True)
class CaptionPlace:
    """Location of captions, with the attributes of `captions.CaptionSource`."""

    file: str | None
    dataset: str | None
    config: str | None
    split: str
    revision: str | None
    column: str
    label_column: str | None

    @property
    def shown(self) -> str:
        """The location as a user would write it."""
        return self.file or f"dataset {self.dataset}"


@dataclass(frozen=True)
class CaptionTexts:
    """Captions in file order.

    Attributes:
        all: Every caption.
        by_label: Captions of each label (Unicode NFC); empty without a label column.
        sha256: Hash of captions and labels, hexadecimal.
    """

    all: Sequence[str]
    by_label: dict[str, list[str]] = field(repr=False)
    sha256: str

    def of(self, label: str) -> Sequence[str]:
        """Return the captions of a class; the label is normalised to Unicode NFC."""
        return self.by_label.get(_plain(label), ())


def require_captions(place: CaptionPlace, texts: CaptionTexts, labels: Iterable[str]) -> None:
    """Reject captions by class if a class has none.

    Raises:
        UserError: A label has no captions.
    """
    left = [label for label in labels if place.label_column and not texts.of(label)]
    if left:
        raise UserError(
            f"{place.shown}: column '{place.label_column}' has no captions for class {some(left)}"
        )


def captions_of(place: CaptionPlace, *, sha256: str | None) -> CaptionTexts:
    """Return the captions of a source.

    Args:
        place: A file or a dataset.
        sha256: Expected hash, or None if it is unknown.

    Raises:
        UserError: The captions cannot be read, or have changed.
    """
    path = Path(place.file) if place.file else None
    version = path.stat().st_mtime_ns if path and path.is_file() else 0
    if sha256 is None:
        return _read(place, version)
    found = _read_quietly(place, version)
    if found is None or found.sha256 != sha256:
        raise UserError(
            f"{place.shown}: the captions have changed since the recipe was resolved (their sha256 "
            f"is not {sha256[:12]}...); restore the file, or remove `sha256` from the recipe and "
            "build into another directory"
        )
    return found


def _read_quietly(place: CaptionPlace, version: int) -> CaptionTexts | None:
    """Read a source without a word about its content: a recipe may name somebody's secrets."""
    if place.file and not Path(place.file).exists():
        raise UserError(f"{place.shown}: caption file not found")
    try:
        return _read(place, version)
    except UserError:
        return None


@lru_cache(maxsize=8)
def _read(place: CaptionPlace, version: int) -> CaptionTexts:
    """Read a source; `version` changes with the file, so that no stale cache entry is used."""
    pairs = list(_file_pairs(place) if place.file else _dataset_pairs(place))
    if not pairs:
        raise UserError(f"{place.shown}: contains no captions")
    digest = hashlib.sha256()
    by_label: dict[str, list[str]] = {}
    for text, label in pairs:
        # JSON, so that the boundaries between captions are unambiguous.
        digest.update(json.dumps([text, label]).encode())
        if label is not None and label.strip():
            by_label.setdefault(_plain(label), []).append(text)
    unlabelled = len(pairs) - sum(map(len, by_label.values()))
    if place.label_column and unlabelled:
        log(f"{place.shown}: {unlabelled} of {len(pairs)} captions have no label and are not used")
    return CaptionTexts([text for text, _ in pairs], by_label, digest.hexdigest())


def _plain(label: str) -> str:
    """Return a label without surrounding space, in Unicode NFC."""
    return unicodedata.normalize("NFC", label.strip())


def _file_pairs(place: CaptionPlace) -> Iterator[_Pair]:
    path = Path(str(place.file))
    _check_file(path, place)
    readers = {".csv": _csv_rows, ".tsv": _csv_rows, ".jsonl": _json_rows, ".parquet": _parquet}
    suffix = path.suffix.lower()
    try:
        if suffix in readers:
            yield from _pairs(place, readers[suffix](path))
            return
        if place.label_column is not None:
            raise UserError(
                f"{place.shown}: a text file has no columns; for captions per class use a .csv, "
                ".tsv, .jsonl or .parquet file"
            )
        with path.open(encoding=_ENCODING) as file:
            # Not `splitlines`: it would also split captions at characters such as U+2028.
            yield from ((line.strip(), None) for line in file if line.strip())
    except FileNotFoundError:
        raise UserError(f"{place.shown}: caption file not found") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{place.shown}: is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{place.shown}: captions cannot be read ({error})") from None


def _check_file(path: Path, place: CaptionPlace) -> None:
    """Reject pipes and devices, which may never end, and files that are too large."""
    if path.exists() and not path.is_file():
        raise UserError(f"{place.shown}: is not a regular file; name a caption file")
    if path.is_file() and path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{place.shown}: is larger than {_MAX_BYTES:,} bytes; use a part of it")


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding=_ENCODING, newline="") as file:
        # Strict: an unclosed quote would turn all following rows into one caption.
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        try:
            yield from reader
        except csv.Error as error:
            raise ValueError(f"after line {reader.line_num}: {error}") from None


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding=_ENCODING) as file:
        for line in file:
            if line.strip():
                row = json.loads(line)
                yield row if isinstance(row, dict) else {}


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
        yield from batch.to_pylist()


def _dataset_pairs(place: CaptionPlace) -> Iterator[_Pair]:
    from factory.data.open import open_rows

    reference = f"{place.dataset}@{place.revision}" if place.revision else str(place.dataset)
    found, _ = open_rows(reference, config_name=place.config, split=place.split)
    wanted = [name for name in (place.column, place.label_column) if name]
    missing = [name for name in wanted if name not in found.column_names]
    if missing:
        raise UserError(_no_column(place, missing[0], found.column_names))
    rows = found.select_columns(wanted)
    label = found.features.get(place.label_column) if place.label_column else None
    names = getattr(label, "names", None)
    yield from _pairs(place, (_named(row, place.label_column, names) for row in rows))


def _named(row: dict[str, Any], column: str | None, names: Sequence[str] | None) -> dict[str, Any]:
    """Return a row with its class by name; unlabelled rows have -1 or nothing."""
    if column is None or names is None:
        return row
    number = row[column]
    return row | {column: names[number] if number is not None and number >= 0 else None}


def _pairs(place: CaptionPlace, rows: Iterable[dict[str, Any]]) -> Iterator[_Pair]:
    for number, row in enumerate(rows, start=1):
        for name in (place.column, place.label_column):
            if name and name not in row:
                raise UserError(_no_column(place, name, row))
        text = row[place.column]
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{place.shown}: row {number}: '{place.column}' is not text")
        label = row[place.label_column] if place.label_column else None
        yield text.strip(), None if label is None else str(label)


def _no_column(place: CaptionPlace, name: str, known: Iterable[str]) -> str:
    listed = ", ".join(str(one) for one in known) or "none"
    return f"{place.shown}: has no column '{name}'; it has: {listed}"
