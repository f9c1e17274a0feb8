"""The images of a card: a contact sheet of stored images, and plots of varied settings.

The lead rank writes them at the end of a build. They depend only on the finished dataset, so a
dataset that has grown has the bytes of one built at once. They are in a separate folder, outside
of the globs that `load_dataset` follows.
"""

import io
from collections.abc import Sequence
from typing import Any

from factory.card.plots_ahead import plot_distributions
from factory.common.dataset_files import SHEET
from factory.common.parquet_bounds import require_bounded
from factory.common.row_images import read_image
from factory.common.storage import AnyPath, write_bytes
from factory.data.columns import IMAGE, INDEX
from factory.recipe.resolved import ResolvedRecipe
from factory.shards.manifest import Manifest

FOLDER = "card"
PLOTS = f"{FOLDER}/distributions.png"

_MAX_ROWS = 10
_MAX_COLUMNS = 10
_GREATEST_SIDE = 128


def write_images(out: AnyPath, manifest: Manifest, recipes: Sequence[ResolvedRecipe]) -> list[str]:
    """Write the images of a dataset's card and remove outdated ones.

    Args:
        out: The dataset's directory.
        manifest: Manifest with the shards of complete configs.
        recipes: The configs with images of their own, in the card's order.

    Returns:
        Paths relative to `out`.
    """
    made = {SHEET: _sheet(out, manifest, recipes), PLOTS: plot_distributions(recipes)}
    for file, data in made.items():
        if data is None:
            (out / file).unlink(missing_ok=True)
        else:
            write_bytes(out / file, data)
    return [file for file, data in made.items() if data is not None]


def _sheet(out: AnyPath, manifest: Manifest, recipes: Sequence[ResolvedRecipe]) -> bytes | None:
    """Return a sheet with a row per class and columns per config, or None without images."""
    import numpy as np

    from factory.renderer.contact_sheet import contact_sheet

    shown = list(recipes[:_MAX_COLUMNS])
    if not shown:
        return None
    labels = _spaced(range(len(manifest.labels)), _MAX_ROWS)
    numbers = max(1, _MAX_COLUMNS // len(shown))
    counts = {recipe.name: min(numbers, *recipe.class_counts) for recipe in shown}
    columns = [(name, number) for name, count in counts.items() for number in range(count)]
    first_images = {
        name: _first_images(out, manifest, name, labels=labels, count=count)
        for name, count in counts.items()
    }
    some = next((image for own in first_images.values() for image in own.values()), None)
    if some is None:
        return None
    # An image that could not be generated has no row: its cell stays white.
    blank = np.full_like(some, 255)
    sheet = contact_sheet(
        [
            [first_images[name].get((label, number), blank) for name, number in columns]
            for label in labels
        ],
        row_labels=[manifest.labels[label] for label in labels],
        column_labels=[name if number == 0 else "" for name, number in columns],
    )
    buffer = io.BytesIO()
    # Not `optimize`: Pillow then uses a buffer of one byte per pixel, and noise needs more.
    sheet.save(buffer, format="JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def _spaced(places: Sequence[int], most: int) -> list[int]:
    """Return at most so many places, evenly spaced."""
    if len(places) <= most:
        return list(places)
    return [places[number * len(places) // most] for number in range(most)]


def _first_images(
    out: AnyPath, manifest: Manifest, name: str, *, labels: Sequence[int], count: int
) -> dict[tuple[int, int], Any]:
    """Return the first images of some classes of a config, by label and number in the class."""
    entry, classes = manifest.configs[name], len(manifest.labels)
    wanted = {
        number * classes + label: (label, number)
        for number in range(count)
        for label in labels
        if number * classes + label < entry.images
    }
    size = manifest.settings.shard_size
    found = {}
    for shard in sorted({index // size for index in wanted}):
        path = out / entry.shards[shard].file
        indexes = {index for index in wanted if index // size == shard}
        for index, data in _stored(path, indexes).items():
            found[wanted[index]] = _decoded(data)
    return found


def _stored(path: AnyPath, indexes: set[int]) -> dict[int, bytes]:
    """Return encoded images by index; only row groups that contain them are read in full."""
    import pyarrow.parquet

    found: dict[int, bytes] = {}
    with path.open("rb") as stream, pyarrow.parquet.ParquetFile(stream) as file:
        require_bounded(stream, shown=str(path))
        for group in range(file.num_row_groups):
            here = file.read_row_group(group, columns=[INDEX])[INDEX].to_pylist()
            if indexes.isdisjoint(here):
                continue
            column = file.read_row_group(group, columns=[f"{IMAGE}.bytes"])[IMAGE]
            for place, index in enumerate(here):
                if index in indexes:
                    found[index] = column[place]["bytes"].as_py()
    return found


def _decoded(data: bytes) -> Any:
    import numpy as np
    from PIL import Image

    rgb = read_image({"bytes": data}, where="a stored image")
    # Large images would make a card of megabytes.
    rgb.thumbnail((_GREATEST_SIDE, _GREATEST_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(rgb)
