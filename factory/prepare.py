"""The beginning of a build, on the lead rank: judge the directory, then ready it.

Judging writes nothing: when something is wrong, a set is left as it was. What follows can be
stopped anywhere and is done again by the next build.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from factory import console
from factory.existing import (
    begun,
    merge_variables,
    open_set,
    recipe_path,
    require_same_recipes,
)
from factory.grow import add_columns, remove_shards, rename_shards
from factory.jobs import Job, adopt_counts
from factory.manifest import Manifest
from factory.schema import features
from factory.settings import BuildSettings, FixedSettings, fix
from factory.shards import remove_temporary_files, write_text
from factory.versions import device_name, library_versions


@dataclass(frozen=True)
class State:
    """What a build is about to do in a directory.

    Attributes:
        out: The directory.
        old: The manifest of the set that is there, or None for a new one.
        jobs: With the counts they will have.
        settings: Those of the set.
        variables: Columns of the whole set, types by name.
    """

    out: Path
    old: Manifest | None
    jobs: list[Job]
    settings: FixedSettings
    variables: dict[str, str]

    def unfinished(self) -> Iterator[Job]:
        """Yield the sets that need a model: those with pictures to draw."""
        for job in self.jobs:
            entry = self.old.configs.get(job.name) if self.old else None
            done = entry is not None and entry.complete and entry.images == job.num_images
            if job.kind == "set" and not done:
                yield job


def judge(out: Path, jobs: Sequence[Job], *, wanted: BuildSettings, device: str) -> State:
    """Decide what a build is about to do; nothing is written.

    Args:
        out: The directory.
        jobs: As the recipes say.
        wanted: The user's settings.
        device: Type of the device at hand.

    Raises:
        UserError: the directory holds something else, or another set.
    """
    old = begun(out, open_set(out))
    counted = adopt_counts(jobs, old)
    settings = fix(wanted, recorded=old.settings if old else None, device=device, out=str(out))
    if old is not None:
        require_same_recipes(out, old, counted)
    return State(out, old, counted, settings, merge_variables(old, counted, out=out))


def prepare(state: State) -> dict[str, dict[int, str]]:
    """Write manifest and recipes; give shards that exist the names and columns they will have.

    Returns:
        By config and number, the shards that must become longer.
    """
    out, old, jobs = state.out, state.old, state.jobs
    labels = tuple(jobs[0].recipe.labels)
    if out.is_dir():
        remove_temporary_files(out)
    if old is not None and state.variables != old.variables:
        # Before the manifest says so: stopped here, the next build finds the same thing to do.
        add_columns(out, old.configs, features=features(labels, state.variables))
    for job in jobs:
        entry = old.configs.get(job.name) if old else None
        if job.kind == "share" and entry is not None and entry.images != job.num_images:
            # Copies are cheap, and a larger share begins with other rows: all are copied anew.
            remove_shards(out, job.name)
    Manifest(
        settings=state.settings,
        device=old.device if old else device_name(state.settings.device),
        versions=_versions(old, draws=any(state.unfinished())),
        labels=labels,
        variables=state.variables,
        configs=(old.configs if old else {}) | {job.name: job.entry() for job in jobs},
    ).write(out)
    growing = {}
    for job in jobs:
        write_text(recipe_path(out, job.name), job.recipe.to_yaml())
        longer = rename_shards(out, job, shard_size=state.settings.shard_size)
        growing[job.name] = {index: str(path) for index, path in longer.items()}
    return growing


def _versions(old: Manifest | None, *, draws: bool) -> tuple[dict[str, str], ...]:
    """Return the versions a set was drawn with, today's last if anything is drawn today."""
    now = library_versions()
    before = old.versions if old else ()
    if before and (before[-1] == now or not draws):
        return before
    if before:
        console.log(
            "the set was begun with other library versions; new pictures may differ in detail"
        )
    return (*before, now)
