"""Finish a build: check that every shard exists, then write manifest and card."""

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
        out: Dataset directory, with all shards of `jobs`.
        jobs: Configs of this build.
        manifest: The manifest when this build started.
        shards: Shards of the jobs, as this build found them.
        drew: Whether this build generated anything.

    Raises:
        Failure: A shard is missing, e.g. deleted during the build; or another process changed
            something this build relied on.
    """
    fence = Fence(out, [job.name for job in jobs], manifest)
    while True:
        # Meanwhile another process may have added configs, or finished these.
        now = newest(out)
        fence.require_same(now.manifest)
        assert now.manifest is not None, "the fence has read it"
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
            f"{out}: {name} should have {entry.images} images in its shards but has {found}; "
            "run the same command again to generate the missing ones"
        )
    return entry.model_copy(update={"complete": True, "shards": tuple(shards)})
