"""Finish a build: check that every shard exists, then write manifest and card."""

import dataclasses
from collections.abc import Mapping, Sequence

from factory.builder.jobs import Job
from factory.builder.prepare import merged_versions
from factory.card.reader_files import publish
from factory.common.errors import Failure
from factory.common.storage import AnyPath
from factory.shards.directory import Look
from factory.shards.generations import Generation, latest, newest, replace
from factory.shards.manifest import ConfigEntry, ShardEntry
from factory.shards.plan_check import Fence

Shards = Mapping[str, Sequence[ShardEntry]]
"""Shards by config, in order."""


def finish(
    out: AnyPath, jobs: Sequence[Job], begun: Generation, *, shards: Shards, has_new_images: bool
) -> Look:
    """Complete the dataset's manifest and write its card.

    Returns:
        The directory as read at the end, with the generation that is now the newest.

    Raises:
        Failure: A shard is missing, e.g. deleted during the build; or another process changed
            something this build relied on.
    """
    manifest = begun.written
    fence = Fence(out, [job.name for job in jobs], manifest)
    while True:
        # Meanwhile another process may have added configs, or finished these.
        now = begun if latest(out) == begun.number else newest(out)
        fence.require_same(now.manifest)
        found, look = now.written, Look.at(out, now)
        configs = dict(found.configs)
        for job in jobs:
            before, there = manifest.configs[job.name], configs[job.name]
            if there == before or not there.complete:
                mine = _complete(look, job.name, before, shards=shards.get(job.name, ()))
                configs[job.name] = mine
        versions = merged_versions(found, found.settings, generates=has_new_images)
        complete = found.model_copy(update={"configs": configs, "versions": versions})
        done = now if complete == found else replace(out, now, complete, recipes={})
        if done is not None:
            break
    loaded = {begun.recipes[job.name]: job.recipe for job in jobs}
    published = publish(out, card=True, now=done, loaded=loaded)
    return dataclasses.replace(look, generation=published)


def _complete(
    look: Look, name: str, entry: ConfigEntry, *, shards: Sequence[ShardEntry]
) -> ConfigEntry:
    if entry.kind == "union":
        return entry.model_copy(update={"complete": True})
    there = {file for _, file in look.files(name)}
    lost = [shard.file for shard in shards if shard.file not in there]
    found = sum(shard.rows + len(shard.failed) for shard in shards if shard.file not in lost)
    if found != entry.images:
        raise Failure(
            f"{look.out}: {name} should have {entry.images} images in its shards and has {found}; "
            "run the same command again to generate the missing ones"
        )
    return entry.model_copy(update={"complete": True, "shards": tuple(shards)})
