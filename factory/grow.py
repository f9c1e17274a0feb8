"""Changes to shards that exist: new names when a set grows, new columns with new variables.

Both copy or rename, nothing is drawn again, and both can be stopped anywhere and begun again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.errors import Failure
from factory.jobs import Job
from factory.manifest import ConfigEntry, Manifest, ShardEntry
from factory.shards import (
    ShardFile,
    column_names,
    list_shards,
    num_rows,
    read_rows,
    shard_path,
    write_shard,
)
from factory.stamp import Stamp, inspect, read_stamp
from factory.storage import AnyPath, rename, sync_folder

if TYPE_CHECKING:
    import datasets


def add_columns(out: AnyPath, manifest: Manifest, *, features: datasets.Features) -> Manifest:
    """Rewrite the shards that lack columns of the set, which are null there.

    Returns:
        The manifest with the shards' new hashes.

    Raises:
        Failure: a shard is damaged; rewritten, it would look whole.
    """
    configs = {}
    for name, entry in manifest.configs.items():
        shards = [
            _with_columns(out, shard, features=features, manifest=manifest, config=name)
            for shard in list_shards(out, name)
        ]
        configs[name] = entry.model_copy(update={"shards": tuple(shards)})
    return manifest.model_copy(update={"configs": configs})


def _with_columns(
    out: AnyPath, shard: ShardFile, *, features: datasets.Features, manifest: Manifest, config: str
) -> ShardEntry:
    found = inspect(shard.path)
    if found.fault:
        raise Failure(
            f"{shard.path}: {found.fault}; build {config} again first, which draws it anew"
        )
    file = shard.path.relative_to(out).as_posix()
    if column_names(shard.path) == list(features):
        return found.entry(file)
    stamp = found.stamp or _stamp(manifest, config, shard, rows=found.rows)
    written = write_shard(shard.path, read_rows(shard.path), features=features, stamp=stamp)
    assert written is not None, "it may be overwritten"
    return written


def _stamp(manifest: Manifest, config: str, shard: ShardFile, *, rows: int) -> Stamp:
    """Return the stamp of a shard that was written before shards had one."""
    start = shard.index * manifest.settings.shard_size
    entry: ConfigEntry = manifest.configs[config]
    settings = manifest.settings.as_dict()
    return Stamp(
        config=config,
        fingerprint=entry.fingerprint,
        settings=settings,
        start=start,
        stop=start + rows,
    )


def rename_shards(out: AnyPath, job: Job, *, shard_size: int) -> None:
    """Give shards that stay the names they have in the grown set.

    Only the last shard of a smaller set can be short; it keeps its name until its rows stand in the
    one that takes its place.
    """
    total = job.total(shard_size)
    for shard in list_shards(out, job.name):
        final = shard_path(out, job.name, index=shard.index, total=total)
        if shard.total == total:
            continue
        if final.is_file():
            shard.path.unlink()
        elif shard.index < shard.total - 1 or _is_full(shard, job, shard_size=shard_size):
            rename(shard.path, final)
    if (out / "data" / job.name).is_dir():
        sync_folder(out / "data" / job.name)


def shorter_shards(out: AnyPath, job: Job, *, shard_size: int) -> dict[int, AnyPath]:
    """Return by number the shards that hold the first rows of one to come; after renaming."""
    total = job.total(shard_size)
    return {one.index: one.path for one in list_shards(out, job.name) if one.total != total}


def remove_shards(out: AnyPath, config: str) -> None:
    """Remove all shards of a config."""
    for shard in list_shards(out, config):
        shard.path.unlink()


def remove_outgrown(out: AnyPath, job: Job, *, shard_size: int) -> None:
    """Remove the short shards that a grown set no longer needs; all of its own must be whole."""
    for shard in list_shards(out, job.name):
        if shard.total != job.total(shard_size):
            shard.path.unlink()


def _is_full(shard: ShardFile, job: Job, *, shard_size: int) -> bool:
    """Whether a shard covers its whole range; a damaged one does not."""
    try:
        stamp = read_stamp(shard.path)
        covered = stamp.stop - stamp.start if stamp else num_rows(shard.path)
    except (Failure, OSError, ValueError):
        return False
    return covered == len(job.rows(shard.index, shard_size=shard_size))
