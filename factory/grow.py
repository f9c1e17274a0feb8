"""Changes to shards that exist: new names when a set grows, new columns with new variables.

Both copy or rename, nothing is drawn again, and both can be stopped anywhere and begun again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from factory.jobs import Job
from factory.shards import (
    ShardFile,
    column_names,
    list_shards,
    num_rows,
    read_rows,
    shard_path,
    sync_folder,
    write_shard,
)

if TYPE_CHECKING:
    import datasets


def add_columns(out: Path, configs: Iterable[str], *, features: datasets.Features) -> None:
    """Rewrite the shards that lack columns of the set, which are null there."""
    for config in configs:
        for shard in list_shards(out, config):
            if column_names(shard.path) != list(features):
                write_shard(shard.path, read_rows(shard.path), features=features)


def rename_shards(out: Path, job: Job, *, shard_size: int) -> dict[int, Path]:
    """Give shards that stay the names they have in the grown set.

    Returns:
        By number, the shards that must become longer: each holds the first rows of the one to come.
    """
    total = job.total(shard_size)
    growing: dict[int, Path] = {}
    for shard in list_shards(out, job.name):
        expected = len(job.rows(shard.index, shard_size=shard_size))
        final = shard_path(out, job.name, index=shard.index, total=total)
        if shard.total != total and is_whole(final, rows=expected):
            shard.path.unlink()
        elif num_rows(shard.path) == expected:
            shard.path.rename(final)
        else:
            growing[shard.index] = _longer(growing.get(shard.index), shard)
    if (out / "data" / job.name).is_dir():
        sync_folder(out / "data" / job.name)
    return growing


def is_whole(path: Path, *, rows: int) -> bool:
    """Whether a shard exists with all its rows."""
    return path.is_file() and num_rows(path) == rows


def remove_shards(out: Path, config: str) -> None:
    """Remove all shards of a config."""
    for shard in list_shards(out, config):
        shard.path.unlink()


def remove_outgrown(out: Path, job: Job, *, shard_size: int) -> None:
    """Remove the short shards that a grown set no longer needs; all of its own must be whole."""
    for shard in list_shards(out, job.name):
        if shard.total != job.total(shard_size):
            shard.path.unlink()


def _longer(known: Path | None, shard: ShardFile) -> Path:
    if known is None:
        return shard.path
    return max(known, shard.path, key=num_rows)
