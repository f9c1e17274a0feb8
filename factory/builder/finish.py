"""The end of a build: every shard accounted for, then manifest and card written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from factory.builder.jobs import Job
from factory.builder.prepare import merged_versions
from factory.card.derived import publish
from factory.common.errors import Failure
from factory.common.storage import AnyPath
from factory.shards.fence import Fence
from factory.shards.generations import newest, replace
from factory.shards.manifest import ConfigEntry, Manifest, ShardEntry
from factory.shards.parquet import list_shards

Shards = Mapping[str, Sequence[ShardEntry]]
"""Shards by config, in order."""


def finish(
    out: AnyPath, jobs: Sequence[Job], *, manifest: Manifest, shards: Shards, drew: bool
) -> None:
    """Complete the dataset's manifest and write its card.

    Args:
        out: The dataset's directory; all shards of `jobs` are there.
        jobs: What this build made.
        manifest: As it was when this build began.
        shards: Of the jobs, as this build saw them.
        drew: Whether this build drew anything.

    Raises:
        Failure: a shard is missing, e.g. deleted while the build ran; or another launch has changed
            what this one relied on.
    """
    fence = Fence(out, [job.name for job in jobs], manifest)
    while True:
        # Another launch may have added configs of its own, or finished these, meanwhile.
        now = newest(out)
        fence.require_same(now.manifest)
        assert now.manifest is not None, "the fence has seen it"
        configs = dict(now.manifest.configs)
        for job in jobs:
            before, there = manifest.configs[job.name], configs[job.name]
            if there == before or not there.complete:
                mine = _complete(out, job.name, before, shards=shards.get(job.name, ()))
                configs[job.name] = mine
        versions = merged_versions(now.manifest, draws=drew)
        complete = now.manifest.model_copy(update={"configs": configs, "versions": versions})
        if complete == now.manifest or replace(out, now, complete, recipes={}) is not None:
            break
    publish(out, card=True)


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
