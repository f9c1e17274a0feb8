"""The end of a build: every shard checked and hashed, then card and manifest written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from factory.card import write_card
from factory.errors import Failure
from factory.grow import remove_outgrown
from factory.jobs import Job
from factory.manifest import ConfigEntry, Manifest, ShardEntry
from factory.shards import list_shards, num_rows, sha256


def finish(out: Path, jobs: Sequence[Job], *, manifest: Manifest) -> Manifest:
    """Complete the set's manifest and write its card.

    Args:
        out: The set's directory; all shards of `jobs` are there.
        jobs: What this build made.
        manifest: As written at the beginning.

    Raises:
        Failure: a shard is missing or short, e.g. deleted while the build ran.
    """
    for job in jobs:
        if job.kind != "union":
            remove_outgrown(out, job, shard_size=manifest.settings.shard_size)
    made = {job.name for job in jobs}
    configs = {
        name: _complete(out, name, entry) if name in made or entry.complete else entry
        for name, entry in manifest.configs.items()
    }
    complete = manifest.model_copy(update={"configs": configs})
    write_card(out, complete)
    complete.write(out)
    return complete


def _complete(out: Path, name: str, entry: ConfigEntry) -> ConfigEntry:
    if entry.kind == "union":
        return entry.model_copy(update={"complete": True})
    shards = [
        ShardEntry(
            file=shard.path.relative_to(out).as_posix(),
            rows=num_rows(shard.path),
            sha256=sha256(shard.path),
        )
        for shard in list_shards(out, name)
    ]
    found = sum(shard.rows for shard in shards)
    if found != entry.images:
        raise Failure(
            f"{out}: {name} should have {entry.images} rows in its shards and has {found}; "
            "run the same command again: what is missing is drawn"
        )
    return entry.model_copy(update={"complete": True, "shards": tuple(shards)})
