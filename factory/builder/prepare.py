"""Start a build on the main process: check the directory, then prepare it.

Checking writes nothing, so an error leaves the dataset unchanged. Preparing can be interrupted
anywhere and is repeated by the next build. Only one launch at a time prepares a directory; another
one joins its work if both want the same, and is rejected if it would change something the first
relies on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from factory.builder.claims import Claims
from factory.builder.grow import add_columns
from factory.builder.jobs import Job, adopt_counts
from factory.builder.start import Start
from factory.card.derived import name_files, publish
from factory.common import console
from factory.common.devices import device_name
from factory.common.errors import UserError
from factory.common.storage import AnyPath, remove_temporary_files
from factory.recipe.columns import features
from factory.shards.directory import begun, merge_variables, open_set, require_same_recipes
from factory.shards.generations import Generation, replace
from factory.shards.hub_limits import warn_of_many_shards
from factory.shards.layout import present_shards
from factory.shards.manifest import ConfigEntry, Manifest
from factory.shards.settings import BuildSettings, FixedSettings, fix
from factory.shards.versions import library_versions

PREPARING = "prepare"
_POLL_S = 0.1


@dataclass(frozen=True)
class State:
    """Plan of a build for a directory.

    Attributes:
        out: The directory.
        old: The part of the existing manifest that binds this build; None for a new dataset.
        generation: The existing generation.
        jobs: Jobs with their final counts.
        settings: Build settings of the dataset.
        variables: Columns of the whole dataset, types by name.
    """

    out: AnyPath
    old: Manifest | None
    generation: Generation
    jobs: list[Job]
    settings: FixedSettings
    variables: dict[str, str]

    @property
    def found(self) -> Manifest | None:
        """The complete existing manifest."""
        return self.generation.manifest

    def unfinished(self) -> Iterator[Job]:
        """Yield the configs that need a model, because they have images to generate."""
        for job in self.jobs:
            entry = self.old.configs.get(job.name) if self.old else None
            done = entry is not None and entry.complete and entry.images == job.num_images
            if job.kind == "set" and not done:
                yield job


def judge(
    out: AnyPath, jobs: Sequence[Job], *, wanted: BuildSettings, device: str, busy: bool = False
) -> State:
    """Check the directory and plan the build; nothing is written.

    Args:
        out: The directory.
        jobs: Jobs of the recipes.
        wanted: The user's settings.
        device: Type of the available device.
        busy: Whether other launches are working there; a dataset without shards is then binding
            too.

    Raises:
        UserError: The directory contains something else, or another dataset.
    """
    generation = open_set(out)
    found = generation.manifest
    old = found if busy else begun(out, found)
    counted = adopt_counts(jobs, old)
    settings = fix(wanted, recorded=old.settings if old else None, device=device, out=str(out))
    if old is not None:
        require_same_recipes(out, old, counted)
    return State(out, old, generation, counted, settings, merge_variables(old, counted, out=out))


def prepare(
    out: AnyPath, jobs: Sequence[Job], *, wanted: BuildSettings, device: str, claims: Claims
) -> Start:
    """Prepare the directory while no other launch does.

    Raises:
        UserError: As `judge`; or another launch is working there with a different plan.
    """
    with claims.holding(PREPARING, wait=lambda: time.sleep(_POLL_S)):
        while True:
            state = judge(out, jobs, wanted=wanted, device=device)
            planned = _manifest(state)
            if planned != state.found:
                others = claims.live_launches(wait=lambda: time.sleep(_POLL_S))
                if others:
                    state = judge(out, jobs, wanted=wanted, device=device, busy=True)
                    planned = _manifest(state)
                    _require_agreement(out, state.found, planned)
                else:
                    planned = _with_columns(state, planned)
            if _replaced(state, planned):
                break
        publish(out, card=False)
        for job in state.jobs:
            if job.kind != "union":
                warn_of_many_shards(job.name, job.num_images, settings=state.settings)
        # Shows other launches that this one is active, also between shards.
        claims.acquire(f"launch-{claims.launch}")
        return _start(out, state, planned)


def _replaced(state: State, planned: Manifest) -> bool:
    """Store the dataset's manifest if it differs; False if another process was faster."""
    recipes = {job.name: job.recipe.to_yaml() for job in state.jobs}
    before = state.generation
    if planned == before.manifest and recipes.items() <= before.recipes.items():
        return True
    if before.number == 0 and before.manifest is not None:
        name_files(state.out, before.manifest)
    return replace(state.out, before, planned, recipes=recipes) is not None


def _with_columns(state: State, planned: Manifest) -> Manifest:
    """Add the new columns to existing shards; return the manifest to write."""
    out, old = state.out, state.old
    if out.is_dir():
        remove_temporary_files(out)
    if old is None or state.variables == old.variables:
        return planned
    labels = tuple(state.jobs[0].recipe.labels)
    columns = features(labels, state.variables)
    return add_columns(out, old, planned, features=columns, number=state.generation.number)


def _require_agreement(out: AnyPath, found: Manifest | None, planned: Manifest) -> None:
    """Reject changes to something that another active launch relies on.

    Raises:
        UserError: Counts, columns, recipes or settings would change.
    """
    if found is None:
        return
    same = {name: planned.configs.get(name) for name in found.configs} == found.configs
    if not same or found.variables != planned.variables or found.settings != planned.settings:
        raise UserError(
            f"{out}: another build is running there with a different plan (other counts, columns "
            "or settings); wait until it has finished, or build into another directory"
        )


def _manifest(state: State) -> Manifest:
    """Return the manifest of a dataset during the build."""
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
    """Return a config's entry before it is complete; a complete one stays complete."""
    entry = job.entry()
    if before is None or job.kind == "union":
        return entry
    if job.pipeline is None and before.sampling and before.fingerprint == entry.fingerprint:
        # A build that loads no pipeline keeps the values recorded by an earlier one.
        entry = entry.model_copy(update={"sampling": before.sampling})
    kept = entry.model_copy(update={"complete": before.complete, "shards": before.shards})
    if kept == before.model_copy(update={"sampling": entry.sampling}):
        return kept
    # While a dataset grows, the hashes of its existing shards remain valid.
    shards = before.shards if job.kind == "set" else ()
    return entry.model_copy(update={"shards": shards})


def _start(out: AnyPath, state: State, planned: Manifest) -> Start:
    return Start({job.name: [*present_shards(out, planned, job.name)] for job in state.jobs})


def merged_versions(old: Manifest | None, *, draws: bool) -> tuple[dict[str, str], ...]:
    """Return the library versions used for a dataset; the current ones are last if used."""
    now = library_versions()
    before = old.versions if old else ()
    if before and (before[-1] == now or not draws):
        return before
    if before:
        console.log(
            "the dataset was started with other library versions; new images may differ in detail"
        )
    return (*before, now)
