"""Write the images and rows of a dataset as a folder that FiftyOne imports.

It is FiftyOne's format `FiftyOneDataset` without a version: FiftyOne infers the fields from the
samples, so the folder depends on no version of it, and neither FiftyOne nor MongoDB is needed here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.viewer.images import Images
from eval.viewer.rows import RowNumbers, Rows
from factory.common.errors import UserError
from factory.data.columns import INDEX, LABEL, RECIPE

GROUND_TRUTH = "ground_truth"
"""Field of the class, as in FiftyOne's own datasets."""
_DATA = "data"
_Key = tuple[str | None, int | None]
_BATCH = 1000
# Fields and attributes of a sample that a field of the same name breaks (tried with FiftyOne 1.22),
# and our field of the class.
_TAKEN = {
    *("id", "filepath", "tags", "metadata", "created_at", "last_modified_at", "media_type"),
    *("dataset_id", "field_names", "from_dict", "get_field", "media_reference"),
    *("frames", "groups", "pk", GROUND_TRUTH),
}


@dataclass(frozen=True)
class Written:
    """Content of a written folder.

    Attributes:
        num_samples: Number of samples, one per image.
        num_bytes: Size of the image files.
        renamed: Names of fields that differ from their column's, by column.
        left_out: Columns that are not numbers, texts, or true and false.
    """

    num_samples: int
    num_bytes: int
    renamed: dict[str, str]
    left_out: list[str]


def field_names(columns: list[str]) -> dict[str, str]:
    """Return FiftyOne's field of each column; names that FiftyOne reserves get an underscore."""
    found: dict[str, str] = {}
    for column in columns:
        name = column.replace(".", "_").replace("$", "_").lstrip("_") or "column"
        while name in _TAKEN or name in found.values() or (name != column and name in columns):
            name += "_"
        found[column] = name
    return found


def check_new(folder: Path) -> None:
    """Reject a folder that exists.

    Raises:
        UserError: It does.
    """
    if os.path.lexists(folder):
        raise UserError(f"--out {folder}: exists; name a folder that does not exist yet")


def images_once(rows: Rows, chosen: RowNumbers) -> RowNumbers:
    """Return some rows, ascending, without the copies in equal shares of other images among them.

    Args:
        rows: The dataset.
        chosen: Numbers of its rows, ascending.
    """
    copies = np.zeros(len(chosen), bool)
    for name in _shares(rows):
        copies |= np.isin(chosen, rows.of_config(name))
    seen = set(_keys(rows, chosen[~copies]))
    kept = ~copies
    for place, key in zip(np.flatnonzero(copies), _keys(rows, chosen[copies]), strict=True):
        kept[place] = key not in seen
        seen.add(key)
    return chosen[kept]


def write_folder(
    rows: Rows, chosen: RowNumbers, folder: Path, *, advance: Callable[[int], None]
) -> Written:
    """Write some rows of a dataset: `samples.json`, `metadata.json` and the images in `data`.

    Images are the stored files, not encoded again. If this fails, the folder is removed.

    Args:
        rows: The dataset.
        chosen: Numbers of its rows.
        folder: A new folder.
        advance: Called with the number of samples written since the last call.

    Raises:
        UserError: The folder exists, or a file or an image of the dataset cannot be read.
    """
    fields = field_names([name for name in rows.sortable if name != LABEL])
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        check_new(folder)
        raise
    try:
        # No path of this machine: the folder may be shared.
        info = {"source": rows.dataset.out.resolve().name, "classes": rows.dataset.labels}
        _write_json(folder / "metadata.json", {"media_type": "image", "info": info})
        num_bytes = 0
        with (folder / "samples.json").open("w", encoding="utf-8") as file:
            file.write('{"samples": [')
            for number, sample in enumerate(_samples(rows, chosen, fields, folder)):
                num_bytes += sample["metadata"]["size_bytes"]
                file.write(f"{',' if number else ''}\n{json.dumps(sample)}")
                advance(1)
            file.write("\n]}\n")
    except BaseException:
        shutil.rmtree(folder)
        raise
    renamed = {column: name for column, name in fields.items() if column != name}
    left_out = [one for one in rows.schema.names if one not in fields and one != LABEL]
    return Written(len(chosen), num_bytes, renamed, left_out)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _samples(
    rows: Rows, chosen: RowNumbers, fields: dict[str, str], folder: Path
) -> Iterator[dict[str, Any]]:
    """Write the image of each row, and yield its sample."""
    images, tags = Images(rows), _Tags(rows)
    for start in range(0, len(chosen), _BATCH):
        part = chosen[start : start + _BATCH]
        for row, values in zip(part.tolist(), rows.at(part), strict=True):
            config, place = rows.config_of(row)
            yield {
                **_image(images, row, folder, f"{_DATA}/{config}/{place}"),
                "tags": tags.of(config, (values[RECIPE], values[INDEX])),
                GROUND_TRUTH: _classification(values[LABEL], rows.dataset.labels),
                **{field: values[column] for column, field in fields.items()},
            }


def _image(images: Images, row: int, folder: Path, stem: str) -> dict[str, Any]:
    """Write the image of a row, and return its part of the sample."""
    kind, width, height, data = images.stored(row)
    path = f"{stem}.{kind.lower()}"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    with (folder / path).open("xb") as file:
        file.write(data)
    metadata = {
        "_cls": "ImageMetadata",
        "size_bytes": len(data),
        "mime_type": f"image/{kind.lower()}",
        "width": width,
        "height": height,
    }
    return {"filepath": path, "metadata": metadata}


class _Tags:
    """Names the configs of an image: where it was generated, equal shares, and unions of these."""

    def __init__(self, rows: Rows) -> None:
        configs = rows.dataset.manifest.configs
        unions = [name for name in rows.dataset.names if configs[name].kind == "union"]
        self._of_config = {
            name: [name, *(union for union in unions if name in configs[union].members)]
            for name in rows.starts
        }
        self._copied: dict[_Key, list[str]] = {}
        for name in _shares(rows):
            for key in _keys(rows, rows.of_config(name)):
                self._copied.setdefault(key, []).append(name)

    def of(self, config: str, image: _Key) -> list[str]:
        """Return the configs of an image whose row is in a stored config, each once."""
        names = [*([image[0]] if image[0] in self._of_config else []), config]
        names += self._copied.get(image, [])
        return list(dict.fromkeys(tag for name in names for tag in self._of_config[name]))


def _shares(rows: Rows) -> list[str]:
    """Return the equal shares, whose rows are copies."""
    return [name for name in rows.starts if rows.dataset.manifest.configs[name].kind == "share"]


def _keys(rows: Rows, some: RowNumbers) -> list[_Key]:
    """Return the names of some rows' images: recipe and index, which copies keep."""
    columns = (rows.table[name].take(some).to_pylist() for name in (RECIPE, INDEX))
    return list(zip(*columns, strict=True))


def _classification(label: int | None, labels: list[str]) -> dict[str, Any] | None:
    """Return a label of FiftyOne; None without a class, as in a table of a stranger."""
    if label is None or not 0 <= label < len(labels):
        return None
    return {"_cls": "Classification", "label": labels[label]}
