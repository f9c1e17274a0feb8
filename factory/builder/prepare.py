"""The beginning of a build, on the lead rank: judge the directory, then ready it.

Judging writes nothing: when something is wrong, a dataset is left as it was. What follows can be
stopped anywhere and is done again by the next build. Any number of launches may do it at once: what
they agree on is the newest generation. A launch that wants the same joins the work of the others.
One that changes what others rely on (counts, columns) makes them stop at their next shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from factory.builder.grow import add_columns
from factory.builder.jobs import Job, adopt_counts
from factory.builder.markers import list_markers
from factory.builder.start import Start
from factory.card.derived import name_files, publish
from factory.common import console
from factory.common.devices import device_name
from factory.common.errors import Failure
from factory.common.storage import AnyPath
from factory.recipe.columns import features
from factory.shards.directory import begun, merge_variables, open_set, require_same_recipes
from factory.shards.fence import Fence, plan_hash
from factory.shards.generations import Generation, replace
from factory.shards.hub_limits import warn_of_many_shards
from factory.shards.layout import present_shards
from factory.shards.manifest import ConfigEntry, Manifest
from factory.shards.settings import BuildSettings, FixedSettings, fix
from factory.shards.versions import library_versions


@dataclass(frozen=True)
class State:
    """What a build is about to do in a directory.

    Attributes:
        out: The directory.
        old: What binds this build of the manifest that is there, or None for a new set.
        generation: What is there.
        jobs: With the counts they will have.
        settings: Those of the set.
        variables: Columns of the whole set, types by name.
    """

    out: AnyPath
    old: Manifest | None
    generation: Generation
    jobs: list[Job]
    settings: FixedSettings
    variables: dict[str, str]

    @property
    def found(self) -> Manifest | None:
        """The whole manifest that is there."""
        return self.generation.manifest

    def unfinished(self) -> Iterator[Job]:
        """Yield the sets that need a model: those with pictures to draw."""
        for job in self.jobs:
            entry = self.old.configs.get(job.name) if self.old else None
            done = entry is not None and entry.complete and entry.images == job.num_images
            if job.kind == "set" and not done:
                yield job


def judge(out: AnyPath, jobs: Sequence[Job], *, wanted: BuildSettings, device: str) -> State:
    """Decide what a build is about to do; nothing is written.

    Args:
        out: The directory.
        jobs: As the recipes say.
        wanted: The user's settings.
        device: Type of the device at hand.

    Raises:
        UserError: the directory holds something else, or another set.
    """
    generation = open_set(out)
    found = generation.manifest
    old = begun(out, found)
    counted = adopt_counts(jobs, old)
    settings = fix(wanted, recorded=old.settings if old else None, device=device, out=str(out))
    if old is not None:
        require_same_recipes(out, old, counted)
    return State(out, old, generation, counted, settings, merge_variables(old, counted, out=out))


def prepare(out: AnyPath, jobs: Sequence[Job], *, wanted: BuildSettings, device: str) -> Start:
    """Ready the directory.

    Raises:
        UserError: as `judge`.
    """
    while True:
        state = judge(out, jobs, wanted=wanted, device=device)
        planned = _manifest(state)
        if planned != state.found:
            planned = _with_columns(state, planned)
        if _replaced(state, planned):
            break
    _report_change(out, state.found, planned)
    publish(out, card=False)
    for job in state.jobs:
        if job.kind != "union":
            warn_of_many_shards(job.name, job.num_images, settings=state.settings)
    return _start(out, state, planned)


def _replaced(state: State, planned: Manifest) -> bool:
    """Make a manifest the dataset's unless it is already; False where another was faster."""
    recipes = {job.name: job.recipe.to_yaml() for job in state.jobs}
    before = state.generation
    if planned == before.manifest and recipes.items() <= before.recipes.items():
        return True
    if before.number == 0 and before.manifest is not None:
        name_files(state.out, before.manifest)
    return replace(state.out, before, planned, recipes=recipes) is not None


def _with_columns(state: State, planned: Manifest) -> Manifest:
    """Give shards that exist the columns they will have; return the manifest to write."""
    out, old = state.out, state.old
    if old is None or state.variables == old.variables:
        return planned
    labels = tuple(state.jobs[0].recipe.labels)
    columns = features(labels, state.variables)
    return add_columns(out, old, planned, features=columns, number=state.generation.number)


def _report_change(out: AnyPath, found: Manifest | None, planned: Manifest) -> None:
    """Say that builds which are at work in the directory will stop, if there may be any."""
    if found is None or not list_markers(out):
        return
    try:
        Fence(out, found.configs, found).require_same(planned)
    except Failure:
        console.log(
            f"{out}: other counts, columns or settings than before: a build that is still at work "
            "there stops at its next shard; run it again then"
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


def _start(out: AnyPath, state: State, planned: Manifest) -> Start:
    present = {job.name: [*present_shards(out, planned, job.name)] for job in state.jobs}
    return Start(present, plan_hash(planned, present), is_shared=bool(list_markers(out)))


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
