"""The part of one rank in a build: take shards and generate them; the lead then finishes."""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from factory.builder.behind import Behind
from factory.builder.costs import Costs
from factory.builder.finish import finish
from factory.builder.jobs import Job
from factory.builder.markers import Markers, left_over_markers
from factory.builder.partial_shards import left_over_partial_shards, num_kept
from factory.builder.ranks import Ranks
from factory.builder.report import BuildReport, Part
from factory.builder.shard_maker import ShardMaker
from factory.builder.start import Start
from factory.builder.task_queue import LaunchBoard, Worklist
from factory.builder.tidy import remove_left_over
from factory.common import console
from factory.common.storage import AnyPath, remove_temporary_files
from factory.renderer.pool import Renderers
from factory.shards.directory import Look
from factory.shards.generations import Generation
from factory.shards.manifest import FailedImage, ShardEntry

_POLL_S = 0.1
_MAX_POLL_S = 2.0


@dataclass
class RankOfBuild:
    """One rank of a build.

    Attributes:
        out: Dataset directory.
        jobs: The configs, with the counts of the dataset.
        generation: Generation written by the lead.
        start: The files that existed when the launch began.
        ranks: The ranks of this launch.
        markers: Markers of the dataset.
        renderers: Provide the renderer of each recipe.
        costs: Count the images and the time of this process.
        show_progress: Whether the lead shows a progress bar.
    """

    out: AnyPath
    jobs: Sequence[Job]
    generation: Generation
    start: Start
    ranks: Ranks
    markers: Markers
    renderers: Renderers
    costs: Costs
    show_progress: bool

    def __post_init__(self) -> None:
        self._manifest = self.generation.written
        self._worked: list[tuple[str, LaunchBoard, Sequence[int]]] = []
        self._shown = 0
        self._makers_of: dict[tuple[str, int], tuple[LaunchBoard, int]] | None = None
        shows = self.show_progress and self.ranks.is_lead
        self._bar = console.progress(
            sum(job.num_images for job in self.jobs if job.kind != "union"),
            unit="image",
            description="build",
            initial=self._count_present() if shows else 0,
            show=shows,
        )
        self._behind = Behind()
        self._maker = ShardMaker(
            self.out,
            self.jobs,
            self.generation,
            self.start,
            self.ranks,
            self.renderers,
            self.costs,
            show=self._show,
            file_of=self._file_of,
            behind=self._behind,
        )

    def run(self, part: Part) -> BuildReport:
        """Generate shards until all exist; the lead then completes the dataset."""
        ranks, started = self.ranks, time.monotonic()
        with self._bar:
            is_complete = self._make_all(part)
        if ranks.is_lead:
            ranks.announce("finished", self._finish(is_complete, started=started))
        report = self._report(json.loads(ranks.wait_for("finished")))
        ranks.leave_together()
        return report

    def _make_all(self, part: Part) -> bool:
        """Generate the shards of this part, then the rest; return whether all exist."""
        tasks = self._tasks("set")
        if part.count > 1:
            own = [task for task in range(len(tasks)) if task % part.count == part.number - 1]
            self._work_through("set", own, name="part")
            if not all(map(self._exists, tasks)):
                # The last part to end finds all shards and completes the dataset.
                return False
        self._work_through("set", range(len(tasks)), name="set")
        # Generate the twins' shards that were not written together with another config's.
        self._work_through("twin", range(len(self._tasks("twin"))), name="twin")
        # Shares copy rows of other configs, so they come last.
        self._work_through("share", range(len(self._tasks("share"))), name="share")
        return True

    def _tasks(self, phase: str) -> list[tuple[Job, int]]:
        size = self._manifest.settings.shard_size
        jobs = [job for job in self.jobs if (job.kind if not job.twin_of else "twin") == phase]
        return [(job, index) for job in jobs for index in range(job.total(size))]

    def _work_through(self, phase: str, wanted: Sequence[int], *, name: str) -> None:
        """Generate shards together with the other ranks; return when all of them exist."""
        tasks, board = self._tasks(phase), LaunchBoard(self.ranks, name)
        self._worked.append((phase, board, wanted))
        present = {name: set(numbers) for name, numbers in self.start.present.items()}
        there = [task for task in wanted if tasks[task][1] in present[tasks[task][0].name]]
        missing = sorted(set(wanted).difference(there))
        if self.start.is_shared:
            missing, there = self._shuffled(missing, tasks), self._shuffled(there, tasks)
        work = Worklist(
            [(job.name, index) for job, index in tasks],
            board=board,
            markers=self.markers,
            order=[*missing, *there],
            fresh=len(missing),
            exists=lambda task: self._exists(tasks[task]),
            make=lambda task: self._maker.make(*tasks[task]),
            close=self._behind.close,
        )
        work.run()
        # A twin's shard, which has no task here, may have failed last.
        self._behind.check()
        poll_s = _POLL_S
        while board.num_settled() < len(wanted):
            self._show(0)
            self.ranks.pause(poll_s)
            poll_s = min(2 * poll_s, _MAX_POLL_S)

    def _shuffled(self, wanted: list[int], tasks: Sequence[tuple[Job, int]]) -> list[int]:
        """Return tasks in an order that differs between launches, so that they rarely collide.

        The tasks of a config stay together, so that no model is loaded twice.
        """
        chance = random.Random(self.ranks.launch)
        place = {job.name: chance.random() for job in self.jobs}
        return sorted(wanted, key=lambda task: (place[tasks[task][0].name], chance.random()))

    def _exists(self, task: tuple[Job, int]) -> bool:
        return self._maker.exists(*task)

    def _finish(self, is_complete: bool, *, started: float) -> str:
        """Complete the dataset if all shards exist; return the values of the report as JSON."""
        ranks, shards = self.ranks, self._shards()
        generated = ranks.add("generated", 0)
        if is_complete:
            look = finish(
                self.out, self.jobs, self.generation, shards=shards, has_new_images=generated > 0
            )
            self._tidy(look)
        failed = {
            name: [image.model_dump() for shard in found for image in shard.failed]
            for name, found in shards.items()
        }
        return json.dumps(
            {
                "generated": generated,
                "kept": ranks.add("kept", 0),
                "regenerated": ranks.add("regenerated", 0),
                "failed": {name: images for name, images in failed.items() if images},
                "seconds": time.monotonic() - started,
                "is_complete": is_complete,
            }
        )

    def _shards(self) -> dict[str, list[ShardEntry]]:
        """Return the manifest entries of the finished shards by config, in order."""
        found: dict[str, dict[int, ShardEntry]] = {}
        for phase, board, wanted in self._worked:
            tasks = self._tasks(phase)
            for task in wanted:
                job, index = tasks[task]
                found.setdefault(job.name, {})[index] = board.entry(task)
        return {name: [by[index] for index in sorted(by)] for name, by in found.items()}

    def _file_of(self, config: str, index: int) -> str:
        """Return the file of a shard that this launch has generated or checked."""
        if self._makers_of is None:
            self._makers_of = {
                (job.name, number): (board, task)
                for phase, board, _ in self._worked
                for task, (job, number) in enumerate(self._tasks(phase))
            }
        board, task = self._makers_of[config, index]
        return board.entry(task).file

    def _tidy(self, look: Look) -> None:
        """Remove files of killed launches; a running launch writes its file again."""
        remove_left_over(look)
        remove_temporary_files(self.out)
        manifest = look.generation.written
        for find in (left_over_markers, left_over_partial_shards):
            for path in find(self.out, manifest):
                path.unlink(missing_ok=True)

    def _report(self, fields: Any) -> BuildReport:
        failed = {
            name: tuple(FailedImage.model_validate(image) for image in images)
            for name, images in fields.pop("failed").items()
        }
        names = tuple(job.name for job in self.jobs)
        return BuildReport(self.out, names, failed=failed, **fields)

    def _show(self, images: int) -> None:
        """Add to the shared image count and show it; stop if another rank has failed."""
        self.ranks.stop_if_another_failed()
        everyones = self.ranks.add("generated", images)
        self._bar.update(everyones - self._shown)
        self._shown = everyones

    def _count_present(self) -> int:
        """Count the images of existing shards, going by file names, and of unfinished ones."""
        size = self._manifest.settings.shard_size
        found = 0
        for job in self.jobs:
            present = set(self.start.present[job.name])
            found += sum(len(job.rows(index, shard_size=size)) for index in present)
            missing = set(range(job.total(size))) - present
            found += num_kept(self.out, self._manifest, job.name, missing)
        return found
