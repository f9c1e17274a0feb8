"""Add null columns to existing shards: write copies under new names.

No image is generated and no file is overwritten, so it can be interrupted at any time and repeated.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from factory.common.errors import Failure
from factory.common.storage import AnyPath
from factory.shards.directory import Look
from factory.shards.layout import file_of, key_of, names_from, shard_file
from factory.shards.manifest import Manifest, ShardEntry
from factory.shards.parquet import Row, ShardFile, read_rows, shard_hash, write_shard
from factory.shards.stamp import Inspection, Stamp, inspect

if TYPE_CHECKING:
    import pyarrow


def add_columns(look: Look, old: Manifest, new: Manifest, *, schema: pyarrow.Schema) -> Manifest:
    """Copy the shards that lack columns of the dataset; the new columns are null.

    Returns:
        `new`, listing the copies instead of the shards in `old`.

    Raises:
        Failure: A shard is damaged; its copy would look undamaged.
    """
    out, number = look.out, look.generation.number
    configs = dict(new.configs)
    for name, entry in old.configs.items():
        same = entry.complete and configs[name].images == entry.images
        if entry.kind == "share" and not same:
            # An equal share of another size copies other rows of its members: it is written again.
            continue
        listed = {shard.file for shard in entry.shards}
        copies = {}
        for shard in look.shards[name]:
            file = shard.path.relative_to(out).as_posix()
            # Unlisted files of a complete config are leftovers.
            if file in listed or not entry.complete:
                base = number if entry.complete else None
                copy = _with_columns(out, shard, new, schema=schema, config=name, number=base)
                if copy is not None:
                    copies[file] = copy
        shards = tuple(copies.get(shard.file, shard) for shard in configs[name].shards)
        configs[name] = configs[name].model_copy(update={"shards": shards})
    return new.model_copy(update={"configs": configs})


def _with_columns(
    out: AnyPath,
    shard: ShardFile,
    new: Manifest,
    *,
    schema: pyarrow.Schema,
    config: str,
    number: int | None,
) -> ShardEntry | None:
    """Return a shard with all columns; None if another launch has removed it meanwhile."""
    read = _read(shard.path, tuple(schema.names))
    if read is None:
        return None
    found, rows = read
    if found.fault:
        raise Failure(f"{shard.path}: {found.fault}; build {config} again first to regenerate it")
    if found.columns == tuple(schema.names):
        return found.entry(shard.path.relative_to(out).as_posix())
    stamp = found.stamp
    assert stamp is not None, "a shard without fault has a stamp"
    first = file_of(stamp, new)
    if number is not None:
        # Listed in the next generation or never: `factory tidy` creates a generation before it
        # removes a file, so it cannot remove a copy that a later build uses.
        first = shard_file(config, shard.index, key_of(f"{number} {first}"))
    for file in names_from(first):
        if copy := _copy(out, file, rows, schema=schema, stamp=stamp):
            return copy
    raise AssertionError("there is always another name")


def _read(path: AnyPath, columns: tuple[str, ...]) -> tuple[Inspection, list[Row]] | None:
    """Return a shard's state, and its rows if it needs a copy; None if it is gone."""
    with suppress(FileNotFoundError):
        found = inspect(path)
        is_copied = not found.fault and found.columns != columns
        return found, read_rows(path) if is_copied else []
    return None


def _copy(
    out: AnyPath, file: str, rows: list[Row], *, schema: pyarrow.Schema, stamp: Stamp
) -> ShardEntry | None:
    """Write a copy; None if another file has its name."""
    while True:
        written = write_shard(out / file, rows, schema=schema, stamp=stamp)
        if written is not None:
            return written
        # An earlier build was interrupted after writing the copy. Its source may have been damaged
        # or measured again since. `tidy` may remove it at any time.
        with suppress(FileNotFoundError):
            before = inspect(out / file)
            is_same = before.sha256 == shard_hash(rows, schema=schema, stamp=stamp)
            return before.entry(file) if is_same else None
