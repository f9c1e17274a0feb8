"""Reads captions: text files, tables, datasets. Each place is read once a process."""

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

_Pair = tuple[str, str | None]
_MAX_BYTES = 1 << 30
"""All captions are kept in memory."""
# Skips the byte order mark that spreadsheets put first.
_ENCODING = "utf-8-sig"


@dataclass(frozen=True)
class CaptionPlace:
    """Where captions lie.

    The attributes are those of `factory.distributions.captions.CaptionSource`.
    """

    file: str | None
    dataset: str | None
    config: str | None
    split: str
    revision: str | None
    column: str
    label_column: str | None

    @property
    def shown(self) -> str:
        """The place as a user would name it."""
        return self.file or f"dataset {self.dataset}"


@dataclass(frozen=True)
class CaptionTexts:
    """Captions in the order they stand.

    Attributes:
        all: Every caption.
        by_label: Those of each label in Unicode's composed form; empty without a label column.
        sha256: Of captions and labels, in hexadecimal.
    """

    all: Sequence[str]
    by_label: dict[str, list[str]] = field(repr=False)
    sha256: str

    def of(self, label: str) -> Sequence[str]:
        """Return the captions of a class; accents may be encoded in either of Unicode's ways."""
        return self.by_label.get(_plain(label), ())


def require_captions(place: CaptionPlace, texts: CaptionTexts, labels: Iterable[str]) -> None:
    """Refuse captions by class that leave a class without.

    Raises:
        UserError: a label has none.
    """
    left = [label for label in labels if place.label_column and not texts.of(label)]
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        raise UserError(
            f"{place.shown}: column '{place.label_column}' has no caption of class "
            f"{', '.join(left[:3])}{more}"
        )


def captions_of(place: CaptionPlace, *, sha256: str | None) -> CaptionTexts:
    """Return the captions of a place.

    Args:
        place: A file or a dataset.
        sha256: Of what they must say, or None where that is not known.

    Raises:
        UserError: they cannot be read, or say something else than they did.
    """
    path = Path(place.file) if place.file else None
    version = path.stat().st_mtime_ns if path and path.is_file() else 0
    texts = _read(place, version)
    if sha256 not in (None, texts.sha256):
        raise UserError(
            f"{place.shown}: says something else than when the recipe was resolved "
            f"(sha256 {texts.sha256[:12]}, not {str(sha256)[:12]}); restore it, or remove `sha256` "
            "from the recipe and build into another directory"
        )
    return texts


@lru_cache(maxsize=8)
def _read(place: CaptionPlace, version: int) -> CaptionTexts:
    """Read a place; `version` changes when a file does, so that the cache does not serve it old."""
    pairs = list(_file_pairs(place) if place.file else _dataset_pairs(place))
    if not pairs:
        raise UserError(f"{place.shown}: holds no captions")
    digest = hashlib.sha256()
    by_label: dict[str, list[str]] = {}
    for text, label in pairs:
        # JSON, so that no caption can end where another begins.
        digest.update(json.dumps([text, label]).encode())
        if label is not None and label.strip():
            by_label.setdefault(_plain(label), []).append(text)
    unlabelled = len(pairs) - sum(map(len, by_label.values()))
    if place.label_column and unlabelled:
        log(f"{place.shown}: {unlabelled} of {len(pairs)} captions have no label and are not used")
    return CaptionTexts([text for text, _ in pairs], by_label, digest.hexdigest())


def _plain(label: str) -> str:
    """Return a label without space around it and with one code per accented letter."""
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
                f"{place.shown}: a text file has no columns; for captions by class give a .csv, "
                ".tsv, .jsonl or .parquet file"
            )
        with path.open(encoding=_ENCODING) as file:
            # Not `splitlines`: it would also end lines within a caption, such as at U+2028.
            yield from ((line.strip(), None) for line in file if line.strip())
    except FileNotFoundError:
        raise UserError(f"{place.shown}: there is no such caption file") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{place.shown}: is no UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{place.shown}: captions cannot be read ({error})") from None


def _check_file(path: Path, place: CaptionPlace) -> None:
    """Refuse pipes and devices, which may never end, and what no captions fill."""
    if path.exists() and not path.is_file():
        raise UserError(f"{place.shown}: is no regular file; give a file of captions")
    if path.is_file() and path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{place.shown}: is larger than {_MAX_BYTES:,} bytes; give a part of it")


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding=_ENCODING, newline="") as file:
        # Strict: a quote that is left open would make one caption of all rows that follow.
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
            raise UserError(f"{place.shown}: row {number}: '{place.column}' holds no text")
        label = row[place.label_column] if place.label_column else None
        yield text.strip(), None if label is None else str(label)


def _no_column(place: CaptionPlace, name: str, known: Iterable[str]) -> str:
    listed = ", ".join(str(one) for one in known) or "none"
    return f"{place.shown}: has no column '{name}'; it has: {listed}"
