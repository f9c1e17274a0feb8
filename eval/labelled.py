"""Make a labelled dataset from captioned real images, using the words of their captions.

It is for reference rows: classifiers trained on as many real images as a synthetic dataset has. An
image is used if its words name exactly one of the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError
from factory.common.row_images import SKIPPING, embedded
from factory.data.open import open_rows
from factory.data.readable import report_unreadable, unreadable_rows
from factory.data.row_filter import filter_rows

if TYPE_CHECKING:
    import datasets

    from factory.data.label_map import LabelMap

_FILE = "train-00000-of-00001.parquet"
_CARD = """---
pretty_name: Labelled images
configs:
- config_name: default
  data_files:
  - split: train
    path: {file}
---

# Labelled images

{count:,} images of `{source}` whose words name exactly one of {classes}: {counts}.
Of {rows:,} rows, {none:,} name none of them and {several:,} name several;
{unreadable:,} images cannot be read.
Real images for reference rows: nothing that is trained on them is zero-shot.
"""


@dataclass(frozen=True)
class Selection:
    """Rows of a captioned dataset.

    Attributes:
        images: Images used, by class.
        rows: Rows read, after the filter.
        none: Rows that name no class.
        several: Rows that name several classes.
        unreadable: Rows of one class whose image cannot be read.
    """

    images: dict[str, int]
    rows: int
    none: int
    several: int
    unreadable: int


def write_labelled(
    source: str,
    out: Path,
    *,
    classes: Sequence[str],
    columns: Sequence[str],
    row_filter: str | None = None,
    skip_unreadable: bool = False,
    labels: LabelMap | None = None,
) -> Selection:
    """Write the labelled dataset.

    Args:
        source: Dataset directory or Hub id; split `train`.
        out: New folder.
        classes: Class names, in label order; `_` is a space.
        columns: Columns with words: a text, or a list of texts.
        row_filter: Keep only matching rows, see `factory.data.row_filter`.
        skip_unreadable: Whether to skip and report images that cannot be read, and files that
            `factory.data.left_out.refuse_lost` refuses.
        labels: Classes for words that are not class names (`sports car: automobile`).

    Raises:
        UserError: The folder exists, a column is missing, a class has no image, an image cannot be
            read, or the map has a word that no image has or an unknown class.
    """
    if out.exists():
        raise UserError(f"{out}: exists; choose a new folder")
    rows, folder = _open(source, columns, row_filter, skip_unreadable=skip_unreadable)
    said = _words(rows, columns)
    if labels:
        known = sorted(set[str]().union(*said))
        labels.check(
            known, classes, real=f"{source}, columns {','.join(columns)},", model="--class"
        )
    named = _named(said, classes, labels.pairs if labels else {})
    places = [place for place, own in enumerate(named) if len(own) == 1]
    ids = [classes.index(next(iter(named[place]))) for place in places]
    matching = len(places)
    places, ids = _readable(rows, places, ids, source=source, folder=folder, skip=skip_unreadable)
    counts = {name: ids.count(place) for place, name in enumerate(classes)}
    empty = [name for name, count in counts.items() if not count]
    if empty:
        raise UserError(
            f"{source}: no image has {empty[0]} as its only class; change --class or add words "
            "with --labels"
        )
    chosen = rows.select(places).select_columns(["image"])
    found = Selection(
        images=counts,
        rows=len(named),
        none=sum(not own for own in named),
        several=sum(len(own) > 1 for own in named),
        unreadable=matching - len(ids),
    )
    _write(chosen, ids, out, source=source, folder=folder, found=found)
    return found


def _open(
    source: str, columns: Sequence[str], row_filter: str | None, *, skip_unreadable: bool
) -> tuple[datasets.Dataset, Path | None]:
    """Return the matching rows and the folder of their images; all columns must exist."""
    rows, folder = open_rows(
        source, config_name=None, split="train", skip_unreadable=skip_unreadable
    )
    missing = [name for name in ("image", *columns) if name not in rows.column_names]
    if missing:
        raise UserError(
            f"{source}: has no column {missing[0]}; it has: {', '.join(rows.column_names)}"
        )
    return (filter_rows(rows, row_filter) if row_filter else rows), folder


def _write(
    images: datasets.Dataset,
    ids: list[int],
    out: Path,
    *,
    source: str,
    folder: Path | None,
    found: Selection,
) -> None:
    """Write images and labels into a new folder, with a card."""
    import datasets as hf

    hf.disable_progress_bars()
    features = hf.Features(image=hf.Image(), label=hf.ClassLabel(names=list(found.images)))
    # Rows without bytes are rejected: `to_parquet` would read the path or address in them.
    rows = embedded(
        images.cast_column("image", hf.Image(decode=False)), where=source, folder=folder
    )
    out.mkdir(parents=True)
    rows.add_column("label", ids).cast(features).to_parquet(str(out / _FILE))
    (out / "README.md").write_text(_card(found, source), encoding="utf-8")


def _card(found: Selection, source: str) -> str:
    return _CARD.format(
        file=_FILE,
        count=sum(found.images.values()),
        source=Path(source).name,
        classes=", ".join(found.images),
        counts=", ".join(f"{name} {count:,}" for name, count in found.images.items()),
        rows=found.rows,
        none=found.none,
        several=found.several,
        unreadable=found.unreadable,
    )


def _readable(
    rows: datasets.Dataset,
    places: list[int],
    ids: list[int],
    *,
    source: str,
    folder: Path | None,
    skip: bool,
) -> tuple[list[int], list[int]]:
    """Return the positions with readable images, and their label ids."""
    faults = unreadable_rows(rows, places, image_column="image", folder=folder)
    if not faults:
        return places, ids
    listed = list(faults.values())
    if not skip or len(faults) == len(places):
        raise UserError(f"{source}: {listed[0]}" + ("" if skip else f"; {SKIPPING}"))
    report_unreadable(source, listed, total=len(places))
    kept = [(place, label) for place, label in zip(places, ids, strict=True) if place not in faults]
    return [place for place, _ in kept], [label for _, label in kept]


def _words(rows: datasets.Dataset, columns: Sequence[str]) -> list[set[str]]:
    """Return the words of each row as spelled."""
    cells: list[list[Any]] = [list(rows[column]) for column in columns]
    return [{word for cell in row for word in _texts(cell)} for row in zip(*cells, strict=True)]


def _named(
    said: Sequence[set[str]], classes: Sequence[str], pairs: Mapping[str, str]
) -> list[set[str]]:
    """Return the classes that the words of each row name.

    Words of the map must match exactly; class names match in any case.
    """
    own = {name.replace("_", " ").casefold(): name for name in classes}
    found = [{pairs.get(word) or own.get(word.casefold()) for word in words} for words in said]
    return [{name for name in names if name} for names in found]


def _texts(cell: Any) -> list[str]:
    return [cell] if isinstance(cell, str) else list(cell or ())
