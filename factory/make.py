"""One shard of a build: looked at where it exists, otherwise drawn, completed or copied."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from factory import console
from factory.draw import Drawn, copy_rows, draw_rows
from factory.errors import Failure
from factory.fence import Fence
from factory.generations import newest
from factory.jobs import Job
from factory.layout import is_wanted, planned_file
from factory.manifest import Manifest, ShardEntry
from factory.processes import Ranks
from factory.renderers import Renderers
from factory.repair import Candidates, Found, assess
from factory.schema import features
from factory.shards import list_shards, read_shard, write_shard
from factory.stamp import Stamp
from factory.start import Start
from factory.storage import AnyPath


class ShardMaker:
    """Makes a set's shards, one at a time; the caller holds the shard's claim."""

    def __init__(
        self,
        out: AnyPath,
        jobs: Sequence[Job],
        manifest: Manifest,
        start: Start,
        *,
        ranks: Ranks,
        renderers: Renderers,
        show: Callable[[int], None],
        file_of: Callable[[str, int], str],
    ) -> None:
        """Take what the lead has readied.

        Args:
            out: The set's directory.
            jobs: All of the build, with the counts they have in the set.
            manifest: Of the set.
            start: What was there.
            ranks: Count what was drawn, kept and drawn again.
            renderers: Make what draws.
            show: Told how many images were drawn, batch by batch.
            file_of: Says where a shard lies that was made before, by config and number.
        """
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
        self._fence = Fence(out, self._sizes, manifest)
        self._there: dict[str, dict[int, list[str]]] = {}

    def exists(self, job: Job, index: int) -> bool:
        """Whether a shard is there, going by its name."""
        if index in self._present[job.name]:
            return True
        return (self._out / planned_file(self._manifest, job.name, index)).is_file()

    def make(self, job: Job, index: int) -> ShardEntry:
        """Make sure of a shard: whole, its own, undamaged; of its twins' too if it must be drawn.

        Returns:
            What the manifest says of it.

        Raises:
            Failure: another launch has changed what this one relies on.
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
        if there.best is not None and there.best.covered == len(images):
            return self._keep(there.best, job, index)
        for found in there.damaged:
            console.log(f"{found.path}: {found.fault}; its images are generated again")
        rows = self._rows(job, images, shorter=there.best)
        if there.damaged:
            self._ranks.add("redrawn", len(rows.rows))
        stamp = job.stamp(images, settings=self._settings, failed=rows.failed)
        entry = self._write(there.free, rows, stamp)
        # Another may have been faster: then its file is looked at like any other.
        return entry or self._make(job, index)

    def _write(self, file: str, rows: Drawn, stamp: Stamp) -> ShardEntry | None:
        """Write a shard under a name that was free; None where it no longer is."""
        self._fence.check()
        path = self._out / file
        entry = write_shard(
            path, rows.rows, features=self._features, stamp=stamp, writer=self._ranks.launch
        )
        try:
            self._fence.check()
        except Failure:
            if entry is not None:
                self._take_back(file, stamp)
            raise
        return entry

    def _take_back(self, file: str, stamp: Stamp) -> None:
        """Remove a file that only the old plan wants; others may have found one that stays wanted.

        A name that a newer plan does not want is wanted by none after it: what is planned grows.
        """
        now = newest(self._out).manifest
        index = stamp.start // self._settings.shard_size
        if now is not None and not is_wanted(now, file, stamp.config, index):
            (self._out / file).unlink(missing_ok=True)

    def _look(self, job: Job, index: int, images: range) -> Candidates:
        """Judge the files that may hold a shard, up to the first that is whole."""
        there, known = Candidates(), [*self._known(job, index)]
        first = planned_file(self._manifest, job.name, index)
        for file in self._named(job, index, known):
            found = self._assess(file, job, index, images)
            # A listed file that was lost leaves its name free.
            if found is None and (file not in known or file == first):
                there.free = file
                break
            there.add(found)
            if there.best is not None and there.best.covered == len(images):
                break
        return there

    def _named(self, job: Job, index: int, known: Sequence[str]) -> Iterator[str]:
        """Yield the files that are known, then the names that the shard may be written to."""
        yield from known
        for attempt in itertools.count():
            file = planned_file(self._manifest, job.name, index, attempt=attempt)
            if file not in known:
                yield file

    def _known(self, job: Job, index: int) -> Iterator[str]:
        """Yield the files that held a shard, or its first rows, when this build began."""
        listed = self._manifest.configs[job.name].shards
        if index < len(listed):
            yield listed[index].file
        if job.kind == "share":
            # What is not listed may be of a smaller share, which has other rows.
            return
        if job.name not in self._there:
            files: dict[int, list[str]] = {}
            for shard in list_shards(self._out, job.name):
                file = shard.path.relative_to(self._out).as_posix()
                files.setdefault(shard.index, []).append(file)
            self._there[job.name] = files
        yield from self._there[job.name].get(index, ())

    def _assess(self, file: str, job: Job, index: int, images: range) -> Found | None:
        """Judge a file; one that lacks columns of the dataset is none of it any more."""
        listed = self._manifest.configs[job.name].shards
        known = listed[index] if index < len(listed) else None
        stamp = job.stamp(images, settings=self._settings)
        found = assess(
            self._out / file, stamp, known=known if known and known.file == file else None
        )
        if found and not found.fault and found.inspection.columns != tuple(self._features):
            return None
        return found

    def _keep(self, found: Found, job: Job, index: int) -> ShardEntry:
        if job.twin_of is None or index in self._present[job.name]:
            # Made beside another set's shard in this launch, it was counted as it was drawn.
            self._ranks.add("kept", found.inspection.rows)
        return found.inspection.entry(found.path.relative_to(self._out).as_posix())

    def _rows(self, job: Job, images: range, *, shorter: Found | None) -> Drawn:
        if job.kind == "share":
            size = self._settings.shard_size
            rows = copy_rows(self._out, job, images, file_of=self._file_of, shard_size=size)
            self._show(len(rows.rows))
            return rows
        kept = Drawn()
        if shorter is not None:
            before = read_shard(shorter.path)
            kept = Drawn(before.rows, list(before.failed))
            self._ranks.add("kept", len(kept.rows))
        drawn = draw_rows(
            job,
            images,
            kept=len(kept),
            renderer=self._renderers.get(job.recipe, dtype=self._settings.dtype),
            settings=self._settings,
            drawn=self._show,
        )
        return Drawn(kept.rows + drawn.rows, kept.failed + drawn.failed)
