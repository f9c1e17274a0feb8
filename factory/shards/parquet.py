"""Write, read and hash shards.

Shards are written atomically (`factory.common.storage`); this is the only commit point. Their bytes
depend only on rows and stamp: nothing records when, where or by which process they were written.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.common.errors import Failure
from factory.common.parquet_bounds import require_bounded
from factory.common.storage import AnyPath, entries, write_bytes
from factory.shards.manifest import ShardEntry
from factory.shards.png import is_small, png_options, small_png
from factory.shards.row_table import row_table
from factory.shards.stamp import KEY, Stamp, read_stamp, seal

if TYPE_CHECKING:
    import pyarrow

    from factory.common.image_arrays import ImageArray
    from factory.recipe.resolved import Output

Row = dict[str, Any]
"""A row by column name; `image` is `{"bytes": encoded image, "path": None}`."""

DATA = "data"
NAME = re.compile(r"train-(\d{5,})-(?:of-\d{5,}|[0-9a-f]{12})\.parquet")
_ROW_GROUP_BYTES = 100_000_000


@dataclass(frozen=True)
class ShardFile:
    """A shard on disk: its number and its path."""

    index: int
    path: AnyPath


@dataclass(frozen=True)
class Shard:
    """A shard that was read."""

    rows: list[Row]
    stamp: Stamp


def shard_count(num_images: int, *, shard_size: int) -> int:
    """Return the number of shards for `num_images`."""
    return -(-num_images // shard_size)


def shard_rows(index: int, *, num_images: int, shard_size: int) -> range:
    """Return the image indexes of a shard."""
    return range(index * shard_size, min((index + 1) * shard_size, num_images))


def list_shards(out: AnyPath, config: str) -> list[ShardFile]:
    """Return a config's shards on disk, by number, including leftovers from before it grew."""
    found = []
    for path in entries(out / DATA / config):
        match = NAME.fullmatch(path.name)
        if match:
            found.append(ShardFile(int(match[1]), path))
    return sorted(found, key=lambda shard: (shard.index, shard.path.name))


def encode_image(image: ImageArray, output: Output) -> bytes:
    """Encode an image in the recipe's format; the same image gives the same bytes.

    Args:
        image: RGB, uint8, shape (height, width, 3).
        output: Defines the format.
    """
    from PIL import Image

    # `fromarray` takes longer than to copy a small image.
    pixels = Image.frombytes("RGB", (image.shape[1], image.shape[0]), image.tobytes())
    if output.format == "png" and is_small(pixels):
        return small_png(pixels, output.compression)
    options: dict[str, Any] = {
        "png": png_options(output.compression),
        "jpeg": {"quality": 95, "subsampling": 0},
        "webp": {"lossless": True, "method": 4},
    }[output.format]
    buffer = io.BytesIO()
    pixels.save(buffer, format=output.format, **options)
    return buffer.getvalue()


def write_shard(
    path: AnyPath,
    rows: Sequence[Row],
    *,
    schema: pyarrow.Schema,
    stamp: Stamp,
) -> ShardEntry | None:
    """Write one shard as Parquet; an existing file is not changed.

    Args:
        path: Path of the file. After a crash it contains all rows or does not exist.
        rows: Rows in plan order. Columns of `schema` that a row lacks are null.
        schema: Columns and types, the same for all configs of a dataset.
        stamp: Description of the shard; its hash is filled in here.

    Returns:
        Its manifest entry; None if the file exists already.

    Raises:
        OSError: The disk is full or cannot be written; no file is left behind.
    """
    data, sha256 = parquet_file(rows, schema=schema, stamp=stamp)
    if not write_bytes(path, data, exclusive=True):
        return None
    return ShardEntry(
        file="/".join((DATA, stamp.config, path.name)),
        rows=len(rows),
        sha256=sha256,
        failed=stamp.failed,
    )


def shard_hash(rows: Sequence[Row], *, schema: pyarrow.Schema, stamp: Stamp) -> str:
    """Return the SHA-256 of the file that `write_shard` would write."""
    return parquet_file(rows, schema=schema, stamp=stamp)[1]


def parquet_file(rows: Sequence[Row], *, schema: pyarrow.Schema, stamp: Stamp) -> tuple[bytes, str]:
    """Return a shard in the layout of `Dataset.to_parquet`, with a stamp in the footer.

    Returns:
        Its bytes, and their SHA-256.
    """
    import pyarrow
    import pyarrow.parquet

    table = row_table(rows, schema)
    # An image is two columns of the file.
    images = ["image.bytes", "image.path"]
    others = [name for name in schema.names if name != "image"]
    buffer = io.BytesIO()
    with pyarrow.parquet.ParquetWriter(
        buffer,
        schema,
        # Images are compressed already. Content-defined chunks let the Hub deduplicate versions of
        # a dataset.
        compression=dict.fromkeys(images, "none") | dict.fromkeys(others, "snappy"),
        use_dictionary=others,
        column_encoding={name: "PLAIN" for name in images},
        use_content_defined_chunking=True,
        write_page_index=True,
    ) as writer:
        # datasets reads a file without row groups, but not one with an empty row group.
        if rows:
            writer.write_table(table, row_group_size=_row_group_size(table))
        writer.add_key_value_metadata({KEY.decode(): stamp.unsealed().model_dump_json()})
    sha256 = seal(buffer)
    return buffer.getvalue(), sha256


def num_rows(path: AnyPath) -> int:
    """Return the number of rows of a shard, from its footer.

    Raises:
        Failure: The file is not a Parquet file.
    """
    return int(_footer(path).num_rows)


def read_rows(path: AnyPath, *, columns: Sequence[str] | None = None) -> list[Row]:
    """Read the rows of a shard, images as encoded bytes; only some columns if they are named.

    Raises:
        UserError: Its rows would take far more memory than the file.
    """
    import pyarrow.parquet

    with path.open("rb") as file:
        require_bounded(file, shown=str(path))
        rows: list[Row] = pyarrow.parquet.read_table(file, columns=columns).to_pylist()
    return rows


def read_shard(path: AnyPath) -> Shard:
    """Read a whole shard.

    Raises:
        ValueError: It has no stamp.
    """
    return Shard(rows=read_rows(path), stamp=read_stamp(path))


def fingerprint(hashes: Iterable[str]) -> str:
    """Return one short fingerprint of many hashes."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16]


def _row_group_size(table: Any) -> int:
    """Return the number of rows in about 100 MB, which a reader of one row has to load."""
    return max(1, int(table.num_rows * _ROW_GROUP_BYTES / max(table.nbytes, 1)))


def _footer(path: AnyPath) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        with path.open("rb") as file:
            return pyarrow.parquet.read_metadata(file)
    except pyarrow.ArrowInvalid as error:
        raise Failure(
            f"{path}: is not a complete Parquet file ({str(error).splitlines()[0]}); "
            "run the build of this dataset again to regenerate damaged shards"
        ) from None
