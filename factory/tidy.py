"""Files that a dataset no longer lists: shards from before it grew, damaged ones, old columns."""

from __future__ import annotations

from collections.abc import Iterator

from factory.generations import newest, replace
from factory.layout import is_wanted
from factory.manifest import Manifest
from factory.shards import ShardFile, list_shards
from factory.stamp import inspect
from factory.storage import AnyPath


def remove_left_over(out: AnyPath) -> int:
    """Remove the shards of complete configs that the newest generation does not list.

    The files are found first; then a new generation is made. Whoever has written files meanwhile to
    list them in a generation after the old one finds its number taken, and does its work again. Who
    comes later plans names that differ from those removed here: what is planned only grows.

    Returns:
        How many files were removed; 0 where another process changed the dataset at the same time.
    """
    now = newest(out)
    if now.manifest is None:
        return 0
    found = [shard.path for shard in _left_over(out, now.manifest)]
    if not found or replace(out, now, now.manifest, recipes={}) is None:
        return 0
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _left_over(out: AnyPath, manifest: Manifest) -> Iterator[ShardFile]:
    for name, entry in manifest.configs.items():
        # Shards of a config that is not complete may be another launch's, which lists them later.
        if not entry.complete:
            continue
        listed = {shard.file for shard in entry.shards}
        for shard in list_shards(out, name):
            file = shard.path.relative_to(out).as_posix()
            if file not in listed and not _repairs(out, manifest, name, shard):
                yield shard


def _repairs(out: AnyPath, manifest: Manifest, config: str, shard: ShardFile) -> bool:
    """Whether a file stands in for one that is listed and damaged: another launch is mending it."""
    entry = manifest.configs[config]
    if shard.index >= len(entry.shards):
        return False
    file = shard.path.relative_to(out).as_posix()
    if not is_wanted(manifest, file, config, shard.index) or inspect(shard.path).fault:
        return False
    listed = out / entry.shards[shard.index].file
    return not listed.is_file() or inspect(listed).fault is not None
