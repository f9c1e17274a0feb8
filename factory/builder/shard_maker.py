"""Make one shard of a build: keep an existing one, or generate, complete or copy it."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from factory.builder.behind import Behind, Ending
from factory.builder.costs import Costs
from factory.builder.jobs import Job
from factory.builder.partial_shards import PartialShards
from factory.builder.ranks import Ranks
from factory.builder.row_maker import LookAgain, MadeRows, RowMaker
from factory.builder.rows import ShardRows, refuse_nothing
from factory.builder.start import Start
from factory.common import console
from factory.common.storage import AnyPath
from factory.data.columns import arrow_schema
from factory.renderer.pool import Renderers
from factory.shards.generations import Generation
from factory.shards.layout import file_at, first_name, is_counted, names_from
from factory.shards.manifest import ShardEntry
from factory.shards.parquet import write_shard
from factory.shards.plan_check import Fence
from factory.shards.repair import Candidates, Found, assess
from factory.shards.stamp import Stamp


@dataclass
class ShardMaker:
    """Makes a dataset's shards, one at a time.

    Attributes:
        out: Dataset directory.
        jobs: All configs of the build, with the counts of the dataset.
        generation: Generation of the dataset, with its manifest.
        start: The files that existed when the launch began.
        ranks: Their store counts generated, kept and regenerated images.
        renderers: Provide the renderer of each recipe.
        costs: Count the images and the time of this process.
        show: Called after each batch with the number of images it added.
        file_of: Returns the file of a finished shard, by config and number.
        behind: Runs the ends of shards.
    """

    out: AnyPath
    jobs: Sequence[Job]
    generation: Generation
    start: Start
    ranks: Ranks
    renderers: Renderers
    costs: Costs
    show: Callable[[int], None]
    file_of: Callable[[str, int], str]
    behind: Behind

    def __post_init__(self) -> None:
        self._manifest = manifest = self.generation.written
        self._settings = manifest.settings
        self._present = {name: frozenset(numbers) for name, numbers in self.start.present.items()}
        self._schema = arrow_schema(manifest.labels, manifest.variables)
        self._sizes = {job.name: job.total(manifest.settings.shard_size) for job in self.jobs}
        self._twins: dict[str, list[Job]] = {}
        for job in self.jobs:
            if job.twin_of is not None:
                self._twins.setdefault(job.twin_of, []).append(job)
        self._fence = Fence(self.out, self._sizes, manifest, seen=self.generation.number)
        self._partial = PartialShards(self.out, self.generation, self._schema)
        self._row_maker = RowMaker(
            self.out,
            manifest.settings,
            self._fence,
            self._partial,
            self.ranks,
            self.renderers,
            self.costs,
            self._show,
            self.file_of,
        )

    def exists(self, job: Job, index: int) -> bool:
        """Return whether a shard exists, judged by its name."""
        if index in self._present[job.name]:
            return True
        return (self.out / file_at(self._manifest, job.name, index)).is_file()

    def make(self, job: Job, index: int) -> Ending:
        """Make sure that a shard of this plan exists undamaged; generate its twins' shards with it.

        Returns:
            The end of the shard, which may still be running.

        Raises:
            Failure: Another process changed something this launch relies on.
        """
        self._fence.check()
        twins = [] if self.exists(job, index) else self._missing_twins(job, index)
        with self.renderers.together([job.recipe, *(twin.recipe for twin in twins)]):
            ending = self._make(job, index, twins)
            for twin in twins:
                # If another launch was faster, the shard is examined when its turn comes.
                self._make(twin, index)
        return ending

    def _show(self, images: int) -> None:
        """Show new images; stop if the end of the shard before has failed."""
        self.show(images)
        self.behind.check()

    def _missing_twins(self, job: Job, index: int) -> list[Job]:
        return [
            twin
            for twin in self._twins.get(job.name, ())
            if index < self._sizes[twin.name] and not self.exists(twin, index)
        ]

    def _make(self, job: Job, index: int, twins: Sequence[Job] = ()) -> Ending:
        images = job.rows(index, shard_size=self._settings.shard_size)
        there = self._look(job, index, images)
        if not there.free:
            assert there.best is not None, "a name is free, or a complete file was found"
            self._partial.remove(job.name, index)
            return _ended(self._keep(there.best, job, index))
        for found in there.damaged:
            console.log(f"{found.path}: {found.fault}; generating its images again")
        ending = Ending()
        try:
            with self._row_maker.rows(job, images, there, twins, ending) as made:
                end = partial(self._end, job, index, there, made)
                if twins:
                    # If it fails, the twins' rows are kept with its own, by this thread.
                    ending.set_result(end())
                else:
                    self.behind.start(ending, partial(made.unfinished.finish, end))
        except LookAgain:
            return self._make(job, index, twins)
        return ending

    def _end(self, job: Job, index: int, there: Candidates, made: MadeRows) -> ShardEntry | None:
        """Wait for the rows of a shard and write it; None if another launch was faster."""
        rows = made.all()
        if job.kind != "share":
            refuse_nothing(job, rows)
        if there.damaged:
            self.ranks.add("regenerated", len(rows.rows))
        images = job.rows(index, shard_size=self._settings.shard_size)
        stamp = job.stamp(images, settings=self._settings, failed=rows.failed)
        assert there.free, "a shard without a free name is kept"
        entry = self._write(there.free, rows, stamp)
        if entry is not None:
            self._partial.remove(job.name, index)
        return entry

    def _write(self, file: str, rows: ShardRows, stamp: Stamp) -> ShardEntry | None:
        """Write a shard under a free name; None if the name is taken.

        If the plan changes in the meantime, the file stays unlisted: later builds use its rows or
        remove it. This launch does not delete it, because others may have found it.
        """
        self._fence.check()
        entry = write_shard(self.out / file, rows.rows, schema=self._schema, stamp=stamp)
        self._fence.check()
        return entry

    def _look(self, job: Job, index: int, images: range) -> Candidates:
        """Examine the files that may contain a shard, up to the first complete one."""
        there, others = Candidates(), []
        # The file that contained the shard, or its first rows, when this build started.
        listed = [one.file for one in self._manifest.configs[job.name].shards[index : index + 1]]
        named = dict.fromkeys([*listed, *self._unlisted(job, index, is_counted)])
        first = first_name(self._manifest, job.name, index)
        for file in itertools.chain(named, (one for one in names_from(first) if one not in named)):
            found = self._assess(file, job, images)
            if found is None:
                # The name of a lost listed file is free as well.
                if file not in named or file == first:
                    there.free = file
                    break
            elif found.fault or found.inspection.columns == tuple(self._schema.names):
                there.add(found)
            else:
                others.append(found)
            if there.best is not None and there.best.covered == len(images):
                return there
        for file in self._unlisted(job, index, lambda file: not is_counted(file)):
            found = self._assess(file, job, images)
            if found is not None and not found.fault:
                others.append(found)
        for found in others:
            # From a build with other counts or columns: its rows are used, the file is not.
            if set(found.inspection.columns) <= set(self._schema.names):
                there.add(found)
        return there

    def _unlisted(self, job: Job, index: int, wanted: Callable[[str], bool]) -> list[str]:
        """Return unlisted files of a shard that existed when this launch began."""
        if job.kind == "share":
            # These files may belong to a smaller share, which has other rows.
            return []
        # Gate columns are correct in listed files only; older files may have other values.
        return [
            file
            for file in self.start.others[job.name].get(index, ())
            if wanted(file) and (is_counted(file) or not self._manifest.gates)
        ]

    def _assess(self, file: str, job: Job, images: range) -> Found | None:
        """Examine a file of the dataset directory."""
        return assess(self.out / file, job.stamp(images, settings=self._settings))

    def _keep(self, found: Found, job: Job, index: int) -> ShardEntry:
        if job.twin_of is None or index in self._present[job.name]:
            # Made together with another config's shard in this launch; already counted.
            self.ranks.add("kept", found.inspection.rows)
        return found.inspection.entry(found.path.relative_to(self.out).as_posix())


def _ended(entry: ShardEntry) -> Ending:
    ending = Ending()
    ending.set_result(entry)
    return ending
