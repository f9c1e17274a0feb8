"""Notice that an image folder was named one level above its class folders."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.errors import UserError
from factory.common.text import some
from factory.data.class_names import find_names

if TYPE_CHECKING:
    from factory.data.open import OpenedDataset


def refuse_level_above(
    opened: OpenedDataset, unknown: Collection[str], known: Sequence[str]
) -> None:
    """Reject labels that are folders around class folders; a label map would merge the classes.

    Raises:
        UserError: The folders of these labels contain folders with the names of classes.
    """
    pairs = _inner_folders(opened, unknown)
    inner = [*dict(pairs)]
    places, _ = find_names(inner, known, present=range(len(inner)))
    found = [name for name, place in zip(inner, places, strict=True) if place is not None]
    if found:
        around = dict.fromkeys(str(folder) for name, folder in pairs if name in found)
        raise UserError(
            f"{opened.reference}: its folders {some(unknown)} are not classes, but contain the "
            f"class folders {some(found)}; name the folder around these: "
            f"{some(around, separator=' or ')}"
        )


def level_hint(opened: OpenedDataset) -> str:
    """Return a hint for a dataset with one label, if its folder contains folders; else ``."""
    inner = dict(_inner_folders(opened, opened.label_names))
    if len(inner) < 2:
        return ""
    around = next(iter(inner.values()))
    return f"; if its folders {some([*inner])} are the classes, name the folder {around}"


def _inner_folders(opened: OpenedDataset, labels: Collection[str]) -> list[tuple[str, Path]]:
    """Return the folders inside the class folders of some labels: name, and folder around it."""
    from datasets import Image

    home, column, names = opened.image_folder, opened.image_column, opened.label_names
    if home is None:
        return []
    rows = opened.dataset.select_columns([column, opened.label_column]).with_format(None)
    rows = rows.cast_column(column, Image(decode=False))
    found: dict[tuple[str, Path], None] = {}
    for image, number in zip(rows[column], rows[opened.label_column], strict=True):
        path = Path((image or {}).get("path") or "")
        label = names[number] if number is not None and number >= 0 else ""
        if label in labels and path.is_relative_to(home):
            parts = path.relative_to(home).parts
            at = parts.index(label) + 1 if label in parts else len(parts)
            found.update({(name, home.joinpath(*parts[:at])): None for name in parts[at:-1][:1]})
    return [*found]
