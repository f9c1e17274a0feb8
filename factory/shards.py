"""Shards: names, rows to Parquet by rename, reading back, hashing.

A shard is written under a temporary name in its own folder, synced, and renamed: a shard that
exists is whole, and the rename is the only commit point. Its bytes depend on the rows alone;
nothing in it tells when, where or by which process it was written.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.errors import Failure

if TYPE_CHECKING:
    import datasets

    from factory.recipe import Output
    from factory.render import Picture

Row = dict[str, Any]
"""A row by column name; `image` is `{"bytes": encoded picture, "path": None}`."""

DATA = "data"
_NAME = re.compile(r"train-(\d{5,})-of-(\d{5,})\.parquet")
_TEMPORARY = ".writing-"


@dataclass(frozen=True)
class ShardFile:
    """A shard on disk: its number, the number of shards its name speaks of, and its path."""

    index: int
    total: int
    path: Path


def shard_count(num_images: int, *, shard_size: int) -> int:
    """Return how many shards hold `num_images`."""
    return -(-num_images // shard_size)


def shard_rows(index: int, *, num_images: int, shard_size: int) -> range:
    """Return the image indexes a shard holds."""
    return range(index * shard_size, min((index + 1) * shard_size, num_images))


def shard_path(out: Path, config: str, *, index: int, total: int) -> Path:
    """Return where a shard lies; `index` from 0."""
    return out / DATA / config / f"train-{index:05d}-of-{total:05d}.parquet"


def list_shards(out: Path, config: str) -> list[ShardFile]:
    """Return a config's shards on disk, by number; several may share one while a set grows."""
    folder = out / DATA / config
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match:
            found.append(ShardFile(int(match[1]), int(match[2]), path))
    return sorted(found, key=lambda shard: (shard.index, shard.total))


def encode_picture(picture: Picture, output: Output) -> bytes:
    """Encode a picture as the recipe says; the same picture gives the same bytes.

    Args:
        picture: RGB, uint8, shape (height, width, 3).
        output: Says the format.
    """
    from PIL import Image

    options: dict[str, Any] = {
        "png": {"compress_level": 6},
        "jpeg": {"quality": 95, "subsampling": 0},
        "webp": {"lossless": True, "method": 4},
    }[output.format]
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format=output.format, **options)
    return buffer.getvalue()


def write_shard(path: Path, rows: Sequence[Row], *, features: datasets.Features) -> None:
    """Write one shard as Parquet.

    Args:
        path: Its final name. After a crash it holds all rows or does not exist.
        rows: In plan order. Columns of `features` that a row lacks are null.
        features: Columns and types, the same for all configs of a set.

    Raises:
        OSError: the disk is full or cannot be written; no file is left behind.
    """
    from datasets import Dataset

    columns = {name: [row.get(name) for row in rows] for name in features}
    dataset = Dataset.from_dict(columns, features=features)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_TEMPORARY}{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as file, _no_progress_bars():
            dataset.to_parquet(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        # Also after Ctrl-C: a set holds shards and nothing else.
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a small text file the same way: it has the old text or the new one, never half."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a small file the same way: it has the old bytes or the new ones, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_TEMPORARY}{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporary_files(out: Path) -> None:
    """Remove what a killed build left half-written. No other build may be at work in `out`."""
    for path in out.rglob(f"{_TEMPORARY}*"):
        path.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a file is one that is being written, or was when its build was stopped."""
    return path.name.startswith(_TEMPORARY)


def num_rows(path: Path) -> int:
    """Return the number of rows of a shard, from its footer.

    Raises:
        Failure: the file is no Parquet file.
    """
    return int(_footer(path).num_rows)


def column_names(path: Path) -> list[str]:
    """Return the columns of a shard, from its footer.

    Raises:
        Failure: the file is no Parquet file.
    """
    return list(_footer(path).schema.to_arrow_schema().names)


def read_rows(path: Path, *, start: int = 0, stop: int | None = None) -> list[Row]:
    """Read rows of a shard, pictures as encoded bytes."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    rows: list[Row] = table.slice(start, None if stop is None else stop - start).to_pylist()
    return rows


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(hashes: Iterable[str]) -> str:
    """Return one short fingerprint of many hashes."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16]


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Keep datasets from drawing a bar of its own over ours."""
    import datasets

    enabled = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if enabled:
            datasets.enable_progress_bars()


def _footer(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_metadata(path)
    except pyarrow.ArrowInvalid as error:
        raise Failure(
            f"{path}: is no whole Parquet file ({str(error).splitlines()[0]}); "
            "delete it and run the same command again: it is drawn anew"
        ) from None
