"""Make one shard of a build: keep an existing one, or generate, complete or copy it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from factory.builder.jobs import Job
from factory.builder.ranks import Ranks
from factory.builder.rows import Drawn, copy_rows, draw_rows
from factory.builder.start import Start
from factory.common import console
from factory.common.errors import Failure
from factory.common.storage import AnyPath
from factory.data.columns import features
from factory.renderer.pool import Renderers
from factory.shards.fence import Fence
from factory.shards.generations import Generation
from factory.shards.layout import file_at, first_name, is_counted, names_from
from factory.shards.manifest import ShardEntry
from factory.shards.parquet import Shard, read_shard, write_shard
from factory.shards.repair import Candidates, Found, assess
from factory.shards.stamp import Stamp


class _LookAgain(Exception):
    """Another launch has written the shard meanwhile, or removed a file with some of its rows."""


class ShardMaker:
    """Makes a dataset's shards, one at a time."""

    def __init__(
        self,
        out: AnyPath,
        jobs: Sequence[Job],
        generation: Generation,
        start: Start,
        *,
        ranks: Ranks,
        renderers: Renderers,
        show: Callable[[int], None],
        file_of: Callable[[str, int], str],
    ) -> None:
        """Store the prepared state of the build.

        Args:
            out: The set's directory.
            jobs: All of the build, with the counts they have in the set.
            generation: Of the dataset, with its manifest.
            start: What was there.
            ranks: Count what was drawn, kept and drawn again.
            renderers: Make what draws.
            show: Told how many images were drawn, batch by batch.
            file_of: Says where a shard lies that was made before, by config and number.
        """
        manifest = generation.manifest
        assert manifest is not None, "the lead has written it"
        self._out = out
        self._settings = manifest.settings
        self._manifest = manifest
        self._present = {name: frozenset(numbers) for name, numbers in start.present.items()}
        self._features = features(manifest.labels, manifest.variables)
        self._sizes = {job.name: job.total(manifest.settings.shard_size) for job in jobs}
        self._twins: dict[str, list[Job]] = {}
        for job in jobs:
            if job.twin_of is not None:
                self._twins.setdefault(job.twin_of, []).append(job)
        self._ranks = ranks
        self._renderers = renderers
        self._show = show
        self._file_of = file_of
        self._fence = Fence(out, self._sizes, manifest, seen=generation.number)
        self._others = start.others

    def exists(self, job: Job, index: int) -> bool:
        """Return whether a shard exists, judged by its name."""
        if index in self._present[job.name]:
            return True
        return (self._out / file_at(self._manifest, job.name, index)).is_file()

    def make(self, job: Job, index: int) -> ShardEntry:
        """Ensure that a shard of this plan exists undamaged; if generated, its twins' shards too.

        Returns:
            The shard's manifest entry.

        Raises:
            Failure: Another process changed something this launch relies on.
        """
        self._fence.check()
        twins = [] if self.exists(job, index) else self._missing_twins(job, index)
        with self._renderers.together([job.recipe, *(twin.recipe for twin in twins)]):
            entry = self._make(job, index)
            for twin in twins:
                self._make(twin, index)
        return entry

    def _missing_twins(self, job: Job, index: int) -> list[Job]:
        return [
            twin
            for twin in self._twins.get(job.name, ())
            if index < self._sizes[twin.name] and not self.exists(twin, index)
        ]

    def _make(self, job: Job, index: int) -> ShardEntry:
        images = job.rows(index, shard_size=self._settings.shard_size)
        there = self._look(job, index, images)
        if not there.free:
            assert there.best is not None, "a name is free, or a complete file was found"
            return self._keep(there.best, job, index)
        for found in there.damaged:
            console.log(f"{found.path}: {found.fault}; generating its images again")
        try:
            rows = self._rows(job, images, shorter=there.best, file=there.free)
        except _LookAgain:
            return self._make(job, index)
        if there.damaged:
            self._ranks.add("redrawn", len(rows.rows))
        stamp = job.stamp(images, settings=self._settings, failed=rows.failed)
        entry = self._write(there.free, rows, stamp)
        # If another process was faster, its file is examined like any other.
        return entry or self._make(job, index)

    def _write(self, file: str, rows: Drawn, stamp: Stamp) -> ShardEntry | None:
        """Write a shard under a free name; None if the name is taken.

        If the plan changes in the meantime, the file stays unlisted: later builds use its rows or
        remove it. This launch does not delete it, because others may have found it.
        """
        self._fence.check()
        entry = write_shard(self._out / file, rows.rows, features=self._features, stamp=stamp)
        self._fence.check()
        return entry

    def _look(self, job: Job, index: int, images: range) -> Candidates:
        """Examine the files that may contain a shard, up to the first complete one."""
        there, others = Candidates(), []
        named = dict.fromkeys([*self._listed(job, index), *self._unlisted(job, index, is_counted)])
        first = first_name(self._manifest, job.name, index)
        for file in itertools.chain(named, (one for one in names_from(first) if one not in named)):
            found = self._assess(file, job, images)
            if found is None:
                # Also the name of a listed file that was lost.
                if file not in named or file == first:
                    there.free = file
                    break
            elif found.fault or found.inspection.columns == tuple(self._features):
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
            if set(found.inspection.columns) <= set(self._features):
                there.add(found)
        return there

    def _listed(self, job: Job, index: int) -> list[str]:
        """Return the file that contained a shard, or its first rows, when this build started."""
        return [one.file for one in self._manifest.configs[job.name].shards[index : index + 1]]

    def _unlisted(self, job: Job, index: int, wanted: Callable[[str], bool]) -> list[str]:
        """Return other files that were there when this launch began."""
        if job.kind == "share":
            # They may belong to a smaller share, which has other rows.
            return []
        # What gates have measured is true of listed files; older ones may say otherwise.
        return [
            file
            for file in self._others[job.name].get(index, ())
            if wanted(file) and (is_counted(file) or not self._manifest.gates)
        ]

    def _assess(self, file: str, job: Job, images: range) -> Found | None:
        """Examine a file of the dataset directory."""
        return assess(self._out / file, job.stamp(images, settings=self._settings))

    def _keep(self, found: Found, job: Job, index: int) -> ShardEntry:
        if job.twin_of is None or index in self._present[job.name]:
            # Made together with another config's shard in this launch; already counted.
            self._ranks.add("kept", found.inspection.rows)
        return found.inspection.entry(found.path.relative_to(self._out).as_posix())

    def _read(self, path: AnyPath) -> Shard | None:
        """Read a shard of this plan; None if another launch has removed it meanwhile."""
        try:
            return read_shard(path)
        except FileNotFoundError:
            self._fence.check()
            return None

    def _member(self, config: str, number: int) -> Shard:
        """Read a shard that this launch has made or looked at."""
        path = self._out / self._file_of(config, number)
        shard = self._read(path)
        if shard is None:
            raise Failure(
                f"{path}: was removed while its rows were copied; run the same command again to "
                "resume"
            )
        return shard

    def _rows(self, job: Job, images: range, *, shorter: Found | None, file: str) -> Drawn:
        """Generate or copy the rows of a shard, unless another launch writes its file meanwhile."""

        def drawn(count: int) -> None:
            self._show(count)
            if (self._out / file).is_file():
                raise _LookAgain

        if job.kind == "share":
            size = self._settings.shard_size
            rows = copy_rows(job, images, read=self._member, shard_size=size)
            self._show(len(rows.rows))
            return rows
        kept = Drawn()
        if shorter is not None:
            before = self._read(shorter.path)
            if before is None:
                raise _LookAgain
            kept = Drawn(before.rows, list(before.failed))
            self._ranks.add("kept", len(kept.rows))
        made = draw_rows(
            job,
            images,
            kept=len(kept),
            renderer=self._renderers.get(job.recipe, dtype=self._settings.dtype),
            settings=self._settings,
            drawn=drawn,
        )
        return Drawn(kept.rows + made.rows, kept.failed + made.failed)
