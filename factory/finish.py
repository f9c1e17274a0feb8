"""The end of a build: every shard accounted for, then card and manifest written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from factory.card import write_card
from factory.errors import Failure
from factory.grow import remove_outgrown
from factory.jobs import Job
from factory.manifest import ConfigEntry, Manifest, ShardEntry, read_manifest
from factory.prepare import merged_versions
from factory.shards import list_shards
from factory.storage import AnyPath

Shards = Mapping[str, Sequence[ShardEntry]]
"""Shards by config, in order."""


def finish(
    out: AnyPath, jobs: Sequence[Job], *, manifest: Manifest, shards: Shards, drew: bool
) -> Manifest:
    """Complete the set's manifest and write its card.

    Args:
        out: The set's directory; all shards of `jobs` are there.
        jobs: What this build made.
        manifest: As it was when this build began.
        shards: Of the jobs, as this build saw them.
        drew: Whether this build drew anything.

    Raises:
        Failure: a shard is missing, e.g. deleted while the build ran.
    """
    for job in jobs:
        if job.kind != "union":
            remove_outgrown(out, job, shard_size=manifest.settings.shard_size)
    # Another launch may have added configs of its own meanwhile.
    now = read_manifest(out) or manifest
    configs = dict(now.configs)
    for job in jobs:
        entry = manifest.configs[job.name]
        configs[job.name] = _complete(out, job.name, entry, shards=shards.get(job.name, ()))
    versions = merged_versions(now, draws=drew)
    complete = now.model_copy(update={"configs": configs, "versions": versions})
    write_card(out, complete)
    complete.write(out)
    return complete


def _complete(
    out: AnyPath, name: str, entry: ConfigEntry, *, shards: Sequence[ShardEntry]
) -> ConfigEntry:
    if entry.kind == "union":
        return entry.model_copy(update={"complete": True})
    there = {shard.path.name for shard in list_shards(out, name)}
    lost = [shard.file for shard in shards if shard.file.rpartition("/")[2] not in there]
    found = sum(shard.rows + len(shard.failed) for shard in shards if shard.file not in lost)
    if found != entry.images:
        raise Failure(
            f"{out}: {name} should have {entry.images} images in its shards and has {found}; "
            "run the same command again: what is missing is drawn"
        )
    return entry.model_copy(update={"complete": True, "shards": tuple(shards)})
