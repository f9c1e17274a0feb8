"""One shard of a build: looked at where it exists, otherwise drawn, completed or copied."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from factory import console
from factory.draw import Drawn, copy_rows, draw_rows
from factory.jobs import Job
from factory.manifest import Manifest, ShardEntry
from factory.processes import Ranks
from factory.renderers import Renderers
from factory.repair import Found, assess
from factory.schema import features
from factory.shards import DATA, read_shard, shard_path, write_shard
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
        """
        self._out = out
        self._settings = manifest.settings
        self._manifest = manifest
        self._start = start
        self._features = features(manifest.labels, manifest.variables)
        self._totals = {job.name: job.total(manifest.settings.shard_size) for job in jobs}
        self._twins: dict[str, list[Job]] = {}
        for job in jobs:
            if job.twin_of is not None:
                self._twins.setdefault(job.twin_of, []).append(job)
        self._ranks = ranks
        self._renderers = renderers
        self._show = show

    def path(self, job: Job, index: int) -> AnyPath:
        """Return where a shard lies when it is whole."""
        return shard_path(self._out, job.name, index=index, total=self._totals[job.name])

    def make(self, job: Job, index: int) -> ShardEntry:
        """Make sure of a shard: whole, its own, undamaged; of its twins' too if it must be drawn.

        Returns:
            What the manifest says of it.
        """
        twins = [] if self.path(job, index).is_file() else self._missing_twins(job, index)
        with self._renderers.together([job.recipe, *(twin.recipe for twin in twins)]):
            entry = self._make(job, index)
            for twin in twins:
                self._make(twin, index)
        return entry

    def _missing_twins(self, job: Job, index: int) -> list[Job]:
        return [
            twin
            for twin in self._twins.get(job.name, ())
            if index < self._totals[twin.name] and not self.path(twin, index).is_file()
        ]

    def _make(self, job: Job, index: int) -> ShardEntry:
        path, images = self.path(job, index), self._images(job, index)
        found = self._assess(path, job, index)
        if found is not None and not found.fault and found.covered == len(images):
            return self._keep(found, path, job, index)
        damaged = found is not None and found.fault is not None
        if found is not None and damaged:
            console.log(f"{path}: {found.fault}; it is drawn anew")
        shorter = self._shorter(found, path, job, index)
        rows = self._rows(job, images, shorter=shorter)
        if damaged:
            self._ranks.add("redrawn", len(rows.rows))
        entry = write_shard(
            path,
            rows.rows,
            features=self._features,
            stamp=job.stamp(images, settings=self._settings, failed=rows.failed),
            # Where nothing was, another may have been faster; what was short or damaged goes.
            exclusive=found is None,
            writer=self._ranks.launch,
        )
        if entry is None:
            return self._make(job, index)
        if shorter is not None and shorter != path:
            # Its rows stand in the new shard; beside it, a reader would find them twice.
            shorter.unlink(missing_ok=True)
        return entry

    def _images(self, job: Job, index: int) -> range:
        return job.rows(index, shard_size=self._settings.shard_size)

    def _assess(self, path: AnyPath, job: Job, index: int) -> Found | None:
        stamp = job.stamp(self._images(job, index), settings=self._settings)
        known = self._manifest.configs[job.name].shards
        return assess(path, stamp, known=known[index] if index < len(known) else None)

    def _keep(self, found: Found, path: AnyPath, job: Job, index: int) -> ShardEntry:
        if job.twin_of is None or index in self._start.present[job.name]:
            # Made beside another set's shard in this launch, it was counted as it was drawn.
            self._ranks.add("kept", found.inspection.rows)
        name = self._start.shorter[job.name].get(index)
        if name is not None:
            # A growth was stopped between the whole shard and the removal of the shorter one.
            path.with_name(name).unlink(missing_ok=True)
        return found.inspection.entry("/".join((DATA, job.name, path.name)))

    def _shorter(self, found: Found | None, path: AnyPath, job: Job, index: int) -> AnyPath | None:
        """Return the shard that holds the first rows of this one, if there is one."""
        if found is not None and not found.fault:
            return path
        name = self._start.shorter[job.name].get(index)
        if name is None:
            return None
        other = path.with_name(name)
        before = self._assess(other, job, index)
        if before is not None and before.fault:
            console.log(f"{other}: {before.fault}; it is drawn anew")
            self._ranks.add("redrawn", len(self._images(job, index)))
            other.unlink(missing_ok=True)
        return other if before is not None and not before.fault else None

    def _rows(self, job: Job, images: range, *, shorter: AnyPath | None) -> Drawn:
        if job.kind == "share":
            rows = copy_rows(
                self._out,
                job,
                images,
                totals=self._totals,
                shard_size=self._settings.shard_size,
            )
            self._show(len(rows.rows))
            return rows
        kept = Drawn()
        if shorter is not None:
            before = read_shard(shorter)
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
