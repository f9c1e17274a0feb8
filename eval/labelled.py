"""Make a labelled dataset from captioned real images, using the words of their captions.

It is for reference rows: classifiers trained on as many real images as a synthetic dataset has. An
image is used if its words name exactly one of the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError
from factory.common.row_images import SKIPPING, embedded
from factory.data.open import open_rows
from factory.data.readable import report_unreadable, unreadable_rows
from factory.data.row_filter import filter_rows

if TYPE_CHECKING:
    import datasets

    from eval.label_map import LabelMap

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

{count:,} images of `{source}` whose words name exactly one of {classes}.
Real images for reference rows: nothing that is trained on them is zero-shot.
"""


def write_labelled(
    source: str,
    out: Path,
    *,
    classes: Sequence[str],
    columns: Sequence[str],
    row_filter: str | None = None,
    skip_unreadable: bool = False,
    labels: LabelMap | None = None,
) -> dict[str, int]:
    """Write the labelled dataset.

    Args:
        source: Dataset directory or Hub id; split `train`.
        out: New folder.
        classes: Class names, in label order; `_` is a space.
        columns: Columns with words: a text, or a list of texts.
        row_filter: Keep only matching rows, see `factory.data.row_filter`.
        skip_unreadable: Whether to skip and report images that cannot be read.
        labels: Classes for words that are not class names (`sports car: automobile`).

    Returns:
        Images by class.

    Raises:
        UserError: The folder exists, a column is missing, a class has no image, an image cannot be
            read, or the map has a word that no image has or an unknown class.
    """
    if out.exists():
        raise UserError(f"{out}: exists; choose a new folder")
    rows, folder = _open(source, columns, row_filter)
    said = _words(rows, columns)
    if labels:
        known = sorted(set[str]().union(*said))
        labels.check(
            known, classes, real=f"{source}, columns {','.join(columns)},", model="--class"
        )
    places, ids = _matching(said, classes, labels.pairs if labels else {})
    places, ids = _readable(rows, places, ids, source=source, folder=folder, skip=skip_unreadable)
    counts = {name: ids.count(place) for place, name in enumerate(classes)}
    empty = [name for name, count in counts.items() if not count]
    if empty:
        raise UserError(
            f"{source}: no image has {empty[0]} as its only class; change --class or add words "
            "with --labels"
        )
    chosen = rows.select(places).select_columns(["image"])
    _write(chosen, ids, out, source=source, folder=folder, classes=classes)
    return counts


def _open(
    source: str, columns: Sequence[str], row_filter: str | None
) -> tuple[datasets.Dataset, Path | None]:
    """Return the matching rows and the folder of their images; all columns must exist."""
    rows, folder = open_rows(source, config_name=None, split="train")
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
    classes: Sequence[str],
) -> None:
    """Write images and labels into a new folder, with a card."""
    import datasets as hf

    hf.disable_progress_bars()
    features = hf.Features(image=hf.Image(), label=hf.ClassLabel(names=list(classes)))
    # Rows without bytes are rejected: `to_parquet` would read the path or address in them.
    rows = embedded(
        images.cast_column("image", hf.Image(decode=False)), where=source, folder=folder
    )
    out.mkdir(parents=True)
    rows.add_column("label", ids).cast(features).to_parquet(str(out / _FILE))
    names = ", ".join(classes)
    card = _CARD.format(file=_FILE, count=len(rows), source=Path(source).name, classes=names)
    (out / "README.md").write_text(card, encoding="utf-8")


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


def _matching(
    said: Sequence[set[str]], classes: Sequence[str], pairs: Mapping[str, str]
) -> tuple[list[int], list[int]]:
    """Return the positions of rows whose words name one class, and their label ids.

    Words of the map must match exactly; class names match in any case.
    """
    own = {name.replace("_", " ").casefold(): name for name in classes}
    places, ids = [], []
    for place, words in enumerate(said):
        named = {pairs.get(word) or own.get(word.casefold()) for word in words} - {None}
        if len(named) == 1:
            places.append(place)
            ids.append(classes.index(named.pop()))
    return places, ids


def _texts(cell: Any) -> list[str]:
    return [cell] if isinstance(cell, str) else list(cell or ())
