"""The beginning of a build, on the lead rank: judge the directory, then ready it.

Judging writes nothing: when something is wrong, a set is left as it was. What follows can be
stopped anywhere and is done again by the next build. One launch at a time readies a directory; a
second one joins the work of the first if both want the same, and is refused if it would change what
the first relies on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from factory import console
from factory.claims import Claims
from factory.devices import device_name
from factory.errors import UserError
from factory.existing import (
    begun,
    merge_variables,
    open_set,
    recipe_path,
    require_same_recipes,
)
from factory.grow import add_columns, remove_shards, rename_shards, shorter_shards
from factory.hub_limits import warn_of_many_shards
from factory.jobs import Job, adopt_counts
from factory.manifest import ConfigEntry, Manifest
from factory.schema import features
from factory.settings import BuildSettings, FixedSettings, fix
from factory.shards import list_shards
from factory.start import Start
from factory.storage import AnyPath, remove_temporary_files, write_text
from factory.versions import library_versions

PREPARING = "prepare"
_POLL_S = 0.1


@dataclass(frozen=True)
class State:
    """What a build is about to do in a directory.

    Attributes:
        out: The directory.
        old: What binds this build of the manifest that is there, or None for a new set.
        found: The whole manifest that is there.
        jobs: With the counts they will have.
        settings: Those of the set.
        variables: Columns of the whole set, types by name.
    """

    out: AnyPath
    old: Manifest | None
    found: Manifest | None
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


def judge(
    out: AnyPath, jobs: Sequence[Job], *, wanted: BuildSettings, device: str, busy: bool = False
) -> State:
    """Decide what a build is about to do; nothing is written.

    Args:
        out: The directory.
        jobs: As the recipes say.
        wanted: The user's settings.
        device: Type of the device at hand.
        busy: Whether other launches are at work there; then a set binds before its first shard.

    Raises:
        UserError: the directory holds something else, or another set.
    """
    found = open_set(out)
    old = found if busy else begun(out, found)
    counted = adopt_counts(jobs, old)
    settings = fix(wanted, recorded=old.settings if old else None, device=device, out=str(out))
    if old is not None:
        require_same_recipes(out, old, counted)
    return State(out, old, found, counted, settings, merge_variables(old, counted, out=out))


def prepare(
    out: AnyPath, jobs: Sequence[Job], *, wanted: BuildSettings, device: str, claims: Claims
) -> Start:
    """Ready the directory, while no other launch does.

    Raises:
        UserError: as `judge`; or another launch is at work there and wants something else.
    """
    with claims.holding(PREPARING, wait=lambda: time.sleep(_POLL_S)):
        state = judge(out, jobs, wanted=wanted, device=device)
        planned = _manifest(state)
        if planned != state.found or _needs_change(state):
            others = claims.live_launches(wait=lambda: time.sleep(_POLL_S))
            if others:
                state = judge(out, jobs, wanted=wanted, device=device, busy=True)
                planned = _manifest(state)
                _require_agreement(out, state.found, planned)
            else:
                planned = _change(state, planned)
            if planned != state.found:
                planned.write(out)
        for job in state.jobs:
            _write_recipe(out, job)
            if job.kind != "union":
                warn_of_many_shards(job.name, job.num_images, settings=state.settings)
        # Shows other launches that this one is at work, between shards too.
        claims.acquire(f"launch-{claims.launch}")
        return _start(out, state)


def _needs_change(state: State) -> bool:
    """Whether shards must be renamed, as after a growth that was stopped."""
    size = state.settings.shard_size
    return any(
        shard.total != job.total(size)
        for job in state.jobs
        for shard in list_shards(state.out, job.name)
    )


def _change(state: State, planned: Manifest) -> Manifest:
    """Give shards that exist the columns and names they will have; return the manifest to write."""
    out, old = state.out, state.old
    if out.is_dir():
        remove_temporary_files(out)
    if old is not None and state.variables != old.variables:
        # Before the manifest says so: stopped here, the next build finds the same thing to do.
        labels = tuple(state.jobs[0].recipe.labels)
        rewritten = add_columns(out, old, features=features(labels, state.variables))
        shards = {name: entry.shards for name, entry in rewritten.configs.items()}
        configs = {
            name: entry.model_copy(update={"shards": shards.get(name, entry.shards)})
            for name, entry in planned.configs.items()
        }
        planned = planned.model_copy(update={"configs": configs})
    for job in state.jobs:
        entry = old.configs.get(job.name) if old else None
        if job.kind == "share" and entry is not None and entry.images != job.num_images:
            # Copies are cheap, and a larger share begins with other rows: all are copied anew.
            remove_shards(out, job.name)
    if planned != state.found:
        # Before shards take the names of a larger set: stopped here, the next build goes on.
        planned.write(out)
    for job in state.jobs:
        rename_shards(out, job, shard_size=state.settings.shard_size)
    return planned


def _require_agreement(out: AnyPath, found: Manifest | None, planned: Manifest) -> None:
    """Refuse to change what a launch at work in the same directory relies on.

    Raises:
        UserError: counts, columns, recipes or settings would change.
    """
    if found is None:
        return
    same = {name: planned.configs.get(name) for name in found.configs} == found.configs
    if not same or found.variables != planned.variables or found.settings != planned.settings:
        raise UserError(
            f"{out}: another build is at work there and makes something else of it (other counts, "
            "columns or settings); wait until it has ended, or build into another directory"
        )


def _manifest(state: State) -> Manifest:
    """Return the manifest that a set has while it is built."""
    old = state.old
    before = old.configs if old else {}
    return Manifest(
        settings=state.settings,
        device=old.device if old else device_name(state.settings.device),
        versions=merged_versions(old, draws=any(state.unfinished())),
        labels=tuple(state.jobs[0].recipe.labels),
        variables=state.variables,
        configs=before | {job.name: _entry(job, before.get(job.name)) for job in state.jobs},
        gates=old.gates if old else {},
    )


def _entry(job: Job, before: ConfigEntry | None) -> ConfigEntry:
    """Return a config's entry before it is complete; one that is complete stays so."""
    entry = job.entry()
    if before is None or job.kind == "union":
        return entry
    if job.pipeline is None and before.sampling and before.fingerprint == entry.fingerprint:
        # A build that loads no pipeline keeps what an earlier one learnt from its own.
        entry = entry.model_copy(update={"sampling": before.sampling})
    kept = entry.model_copy(update={"complete": before.complete, "shards": before.shards})
    if kept == before.model_copy(update={"sampling": entry.sampling}):
        return kept
    # While a set grows, the hashes of the shards that stay are still known.
    shards = before.shards if job.kind == "set" else ()
    return entry.model_copy(update={"shards": shards})


def _write_recipe(out: AnyPath, job: Job) -> None:
    path, text = recipe_path(out, job.name), job.recipe.to_yaml()
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _start(out: AnyPath, state: State) -> Start:
    size = state.settings.shard_size
    present, shorter = {}, {}
    for job in state.jobs:
        total = job.total(size)
        numbers = {one.index for one in list_shards(out, job.name) if one.total == total}
        present[job.name] = sorted(numbers)
        files = shorter_shards(out, job, shard_size=size)
        shorter[job.name] = {number: path.name for number, path in files.items()}
    return Start(present, shorter)


def merged_versions(old: Manifest | None, *, draws: bool) -> tuple[dict[str, str], ...]:
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
