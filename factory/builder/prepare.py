"""Start a build on the main process: check the directory, then prepare it.

The check writes nothing, so a dataset is unchanged if something is wrong. The preparation can be
interrupted at any time and is repeated by the next build. Several launches may prepare a directory
at once: they agree on its newest generation. A launch with the same plan joins the others. A launch
that changes what others rely on (counts, columns) makes them stop at their next shard.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from factory.builder.compatible import (
    begun,
    merge_variables,
    require_adapters,
    require_same_recipes,
    require_whole_batches,
)
from factory.builder.grow import add_columns
from factory.builder.interval_option import with_interval
from factory.builder.jobs import Job, adopt_counts
from factory.builder.markers import list_markers
from factory.builder.start import Start
from factory.card.reader_files import name_files, publish
from factory.common import console
from factory.common.devices import device_name
from factory.common.errors import Failure
from factory.common.storage import AnyPath
from factory.common.version import library_versions
from factory.data.columns import arrow_schema
from factory.shards.directory import Look, open_set
from factory.shards.generations import Generation, replace
from factory.shards.hub_limits import warn_of_many_shards
from factory.shards.layout import first_name, present_shards, total_shards
from factory.shards.manifest import ConfigEntry, Manifest
from factory.shards.plan_check import Fence, plan_hash
from factory.shards.settings import BuildSettings, FixedSettings, fix, warn_of_padding


@dataclass(frozen=True)
class State:
    """Plan of a build for a directory.

    Attributes:
        look: The directory as it was read.
        old: Manifest of the configs that already have shards; None for a new dataset.
        jobs: The configs, with the counts they will have.
        settings: Build settings of the dataset.
        variables: Variable columns of the whole dataset, types by name.
        offload: Offload of this launch.
    """

    look: Look
    old: Manifest | None
    jobs: list[Job]
    settings: FixedSettings
    variables: dict[str, str]
    offload: str | None = None

    @property
    def found(self) -> Manifest | None:
        """The complete existing manifest."""
        return self.look.generation.manifest

    @property
    def gets_columns(self) -> bool:
        """Whether existing shards lack columns that the dataset will have."""
        return self.old is not None and self.variables != self.old.variables

    def unfinished(self) -> Iterator[Job]:
        """Yield the configs that need a model, because they have images to generate."""
        for job in self.jobs:
            entry = self.old.configs.get(job.name) if self.old else None
            done = entry is not None and entry.complete and entry.images == job.num_images
            if job.kind == "set" and not done:
                yield job


def look_at(out: AnyPath, jobs: Sequence[Job]) -> Look:
    """Read the directory once: its newest generation and the files of all shards.

    Raises:
        UserError: The directory contains something other than a dataset.
    """
    return Look.at(out, open_set(out), [job.name for job in jobs])


def judge(
    look: Look,
    jobs: Sequence[Job],
    *,
    wanted: BuildSettings,
    device: str,
    automatic: int | None = None,
) -> State:
    """Plan a build for a directory; nothing is written.

    Args:
        look: The directory.
        jobs: The configs.
        wanted: Settings of this launch.
        device: Kind of its device.
        automatic: Batch size of a new dataset, if it was measured.

    Raises:
        UserError: The directory contains another dataset.
    """
    own = {job.name for job in jobs}
    out = look.out
    old = begun(look, {one.config for one in list_markers(out)} - own)
    counted = adopt_counts(jobs, old)
    recorded = old.settings if old else None
    settings = fix(wanted, recorded=recorded, device=device, out=str(out), automatic=automatic)
    counted = with_interval(counted, settings, wanted)
    if old is not None:
        require_same_recipes(out, old, counted)
    require_whole_batches(counted, settings)
    require_adapters(counted, settings, recorded=old is not None)
    variables = merge_variables(old, counted, out=out)
    return State(look, old, counted, settings, variables, wanted.offload)


def prepare(
    look: Look,
    jobs: Sequence[Job],
    *,
    wanted: BuildSettings,
    device: str,
    judged: Look,
    automatic: int | None = None,
) -> tuple[Start, Generation]:
    """Prepare the directory: write its new generation, recipes and copies with new columns.

    Args:
        look: The directory now.
        jobs: The configs, with the settings of their pipelines.
        wanted: Settings of this launch.
        device: Kind of its device.
        judged: The directory before models were loaded and an automatic batch size was measured.
        automatic: This batch size; the number of a launch that has begun since `judged` is kept.

    Returns:
        The state that ranks need to start, and the generation that is now the newest.

    Raises:
        UserError: As `judge`.
    """
    out = look.out
    while True:
        size = _batch_size_of_others(judged, look) or automatic
        state = judge(look, jobs, wanted=wanted, device=device, automatic=size)
        planned = _manifest(state)
        if planned != state.found and state.gets_columns:
            planned = _with_columns(state, planned)
        generation = _replaced(state, planned)
        if generation is not None:
            break
        look = look_at(out, jobs)
    _report_change(out, state.found, planned)
    if state.old is None:
        warn_of_padding(state.settings)
    publish(out, card=False, now=generation)
    for job in state.jobs:
        if job.kind != "union":
            warn_of_many_shards(job.name, job.num_images, settings=state.settings)
    # Read again: copies with new columns have been written.
    seen = look_at(out, jobs) if state.gets_columns else look
    return _start(seen, state.jobs, planned), generation


def _batch_size_of_others(before: Look, now: Look) -> int | None:
    """Return the batch size of a launch that has begun the dataset since `before`."""
    other = now.generation.manifest
    same = now.generation.number == before.generation.number
    return None if other is None or same else other.settings.batch_size


def _replaced(state: State, planned: Manifest) -> Generation | None:
    """Make a manifest the newest generation; None if another process has changed it first."""
    recipes = {job.name: job.recipe.to_yaml() for job in state.jobs}
    before, out = state.look.generation, state.look.out
    if planned == before.manifest and recipes.items() <= before.recipes.items():
        return before
    if before.number == 0 and before.manifest is not None:
        name_files(out, before.manifest)
    return replace(out, before, planned, recipes=recipes)


def _with_columns(state: State, planned: Manifest) -> Manifest:
    """Add the new columns to existing shards; return the manifest to write."""
    assert state.old is not None, "a new dataset gets no further columns"
    schema = arrow_schema(state.jobs[0].recipe.labels, state.variables)
    return add_columns(state.look, state.old, planned, schema=schema)


def _report_change(out: AnyPath, found: Manifest | None, planned: Manifest) -> None:
    """Log that running builds in the directory will stop, if markers show any."""
    if found is None or not list_markers(out):
        return
    try:
        Fence(out, found.configs, found).require_same(planned)
    except Failure:
        console.log(
            f"{out}: this build changes the dataset's image counts, columns or settings; another "
            "build that is running in this directory will stop at its next shard: run it again "
            "afterwards"
        )


def _manifest(state: State) -> Manifest:
    """Return the manifest of a dataset during the build."""
    old = state.old
    before = old.configs if old else {}
    generates, offload = any(state.unfinished()), old.offload if old else ()
    return Manifest(
        settings=state.settings,
        device=old.device if old else device_name(state.settings.device),
        versions=merged_versions(old, state.settings, generates=generates),
        labels=tuple(state.jobs[0].recipe.labels),
        variables=state.variables,
        configs=before | {job.name: _entry(job, before.get(job.name)) for job in state.jobs},
        gates=old.gates if old else {},
        offload=(*offload, state.offload)
        if generates and state.offload and state.offload not in offload
        else offload,
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


def _start(look: Look, jobs: Sequence[Job], planned: Manifest) -> Start:
    present, others = {}, {}
    for job in jobs:
        files = look.files(job.name)
        present[job.name] = [*present_shards(planned, job.name, {file for _, file in files})]
        found: dict[int, list[str]] = {}
        for number, file in files:
            is_planned = number < total_shards(planned, job.name)
            if not is_planned or file != first_name(planned, job.name, number):
                found.setdefault(number, []).append(file)
        others[job.name] = found
    plan = plan_hash(planned, present)
    return Start(present, others, plan, is_shared=bool(list_markers(look.out)))


def merged_versions(
    old: Manifest | None, settings: FixedSettings, *, generates: bool
) -> tuple[dict[str, str], ...]:
    """Return the library versions used for a dataset; the current ones are last if used."""
    now = library_versions(*settings.inference.libraries)
    before = old.versions if old else ()
    if before and (before[-1] == now or not generates):
        return before
    if before:
        console.log(
            "the dataset was started with other library versions; new images may differ slightly "
            "from those of the recorded versions"
        )
    return (*before, now)
