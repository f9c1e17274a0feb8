"""`build`: recipes to a dataset directory.

The lead rank judges what is there, writes the manifest and prepares the folders; then all ranks
take shards from a shared counter until none is left; then the lead writes hashes and card. A shard
exists or it does not, so a build that was stopped anywhere goes on by being run again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from factory import console
from factory.draw import copy_rows, draw_rows
from factory.finish import finish
from factory.grow import is_whole
from factory.jobs import Job, adopt_counts, make_jobs
from factory.manifest import Manifest, read_manifest
from factory.prepare import judge, prepare
from factory.processes import Ranks
from factory.renderers import RendererFactory, Renderers
from factory.schema import features
from factory.settings import BuildSettings
from factory.shards import Row, list_shards, num_rows, read_rows, shard_path, write_shard

if TYPE_CHECKING:
    from factory.recipe import ResolvedRecipe


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        out: The set's directory.
        configs: Names of the configs that were made, members before combinations.
        drawn: Images that were drawn or copied, by all ranks.
        kept: Images that were there before.
        seconds: From the first shard to the finished card.
    """

    out: Path
    configs: tuple[str, ...]
    drawn: int
    kept: int
    seconds: float

    @property
    def images_per_s(self) -> float:
        """Speed of this build, all ranks together."""
        return self.drawn / self.seconds if self.seconds else 0.0


def build(
    recipes: ResolvedRecipe | Sequence[ResolvedRecipe],
    out: str | Path,
    *,
    settings: BuildSettings | None = None,
    show_progress: bool = True,
    renderer_factory: RendererFactory | None = None,
) -> BuildReport:
    """Draw recipes into a dataset directory that `load_dataset` reads.

    Run again, it goes on where it stopped; with more images a class, it grows the set. Started by
    accelerate's or torch's launcher, all processes draw together and the bytes stay the same.

    Args:
        recipes: One config each; combinations bring their members.
        out: The directory; new, or a set that was begun from the same recipes.
        settings: Build settings; those of a set that exists are taken from it.
        show_progress: Whether to show a progress bar on stderr.
        renderer_factory: Makes what draws a recipe; by default its diffusers model.

    Returns:
        What was done, the same on every rank.

    Raises:
        UserError: something the user can mend: recipes, settings, directory, or model.
        Failure: another rank failed, or the model drew no picture.
        OSError: the disk is full or cannot be written.
    """
    wanted = settings or BuildSettings()
    jobs = make_jobs([*recipes] if isinstance(recipes, Sequence) else [recipes])
    ranks = Ranks(device=wanted.device)
    renderers = Renderers(renderer_factory, device=ranks.device)
    with ranks.telling_failure():
        growing = _prepare(Path(out), jobs, ranks=ranks, wanted=wanted, renderers=renderers)
        manifest = read_manifest(Path(out))
        assert manifest is not None, "the lead has written it"
        part = _Part(Path(out), adopt_counts(jobs, manifest), manifest, ranks, renderers, growing)
        with _threads(manifest.settings.threads):
            return part.run(show_progress=show_progress)


def _prepare(
    out: Path, jobs: list[Job], *, ranks: Ranks, wanted: BuildSettings, renderers: Renderers
) -> dict[str, dict[str, str]]:
    """Let the lead ready the directory; return which shards must become longer, by config."""
    if ranks.is_lead:
        state = judge(out, jobs, wanted=wanted, device=ranks.device.type)
        # A model that cannot be had is told before a directory is begun.
        for job in state.unfinished():
            renderers.get(job.recipe, dtype=state.settings.dtype)
        ranks.announce("prepared", json.dumps(prepare(state)))
    growing: dict[str, dict[str, str]] = json.loads(ranks.wait_for("prepared"))
    return growing


class _Part:
    """One rank's part of a build."""

    def __init__(
        self,
        out: Path,
        jobs: Sequence[Job],
        manifest: Manifest,
        ranks: Ranks,
        renderers: Renderers,
        growing: dict[str, dict[str, str]],
    ) -> None:
        self._out = out
        self._jobs = list(jobs)
        self._manifest = manifest
        self._settings = manifest.settings
        self._features = features(manifest.labels, manifest.variables)
        self._ranks = ranks
        self._renderers = renderers
        self._growing = growing
        self._shown = 0

    def run(self, *, show_progress: bool) -> BuildReport:
        """Take shards until none is left; the lead finishes the set."""
        ranks = self._ranks
        kept = self._count_kept() if ranks.is_lead else 0
        started = time.monotonic()
        with console.progress(
            sum(job.num_images for job in self._jobs if job.kind != "union"),
            unit="image",
            description="build",
            initial=kept,
            show=show_progress and ranks.is_lead,
        ) as self._bar:
            # Shares copy from sets, so they come after all of them.
            for kind in ("set", "share"):
                self._work_through([job for job in self._jobs if job.kind == kind], phase=kind)
        drawn = ranks.add("images", 0)
        if ranks.is_lead:
            finish(self._out, self._jobs, manifest=self._manifest)
            ranks.announce("finished", json.dumps([kept, time.monotonic() - started]))
        kept, seconds = json.loads(ranks.wait_for("finished"))
        ranks.leave_together()
        names = tuple(job.name for job in self._jobs)
        return BuildReport(self._out, names, drawn=drawn, kept=kept, seconds=seconds)

    def _work_through(self, jobs: Sequence[Job], *, phase: str) -> None:
        """Make the shards of some configs with the other ranks; return when all are there."""
        shard_size = self._settings.shard_size
        tasks = [(job, index) for job in jobs for index in range(job.total(shard_size))]
        while (number := self._ranks.take(f"{phase}-next")) < len(tasks):
            self._make_shard(*tasks[number])
            self._ranks.add(f"{phase}-done", 1)
        self._ranks.wait_until(lambda: self._all_done(phase, len(tasks)))

    def _all_done(self, phase: str, tasks: int) -> bool:
        self._count(0)
        return self._ranks.add(f"{phase}-done", 0) >= tasks

    def _make_shard(self, job: Job, index: int) -> None:
        shard_size = self._settings.shard_size
        shard = job.rows(index, shard_size=shard_size)
        path = shard_path(self._out, job.name, index=index, total=job.total(shard_size))
        if is_whole(path, rows=len(shard)):
            return
        shorter = self._growing.get(job.name, {}).get(str(index))
        rows = read_rows(Path(shorter)) if shorter else []
        rows += self._missing_rows(job, shard, kept=len(rows))
        write_shard(path, rows, features=self._features)
        if shorter and Path(shorter) != path:
            # Its rows stand in the new shard; beside it, a reader would find them twice.
            Path(shorter).unlink(missing_ok=True)

    def _missing_rows(self, job: Job, shard: range, *, kept: int) -> list[Row]:
        if job.kind == "share":
            totals = {one.name: one.total(self._settings.shard_size) for one in self._jobs}
            rows = copy_rows(
                self._out, job, shard, totals=totals, shard_size=self._settings.shard_size
            )
            self._count(len(rows))
            return rows
        return draw_rows(
            job,
            shard,
            kept=kept,
            renderer=self._renderers.get(job.recipe, dtype=self._settings.dtype),
            batch_size=self._settings.batch_size,
            drawn=self._count,
        )

    def _count(self, images: int) -> None:
        """Count images of this rank; show those of all ranks; stop where another has failed."""
        self._ranks.stop_if_another_failed()
        everyones = self._ranks.add("images", images)
        self._bar.update(everyones - self._shown)
        self._shown = everyones

    def _count_kept(self) -> int:
        """Count the rows that are there; call before any shard is made."""
        return sum(
            num_rows(shard.path)
            for job in self._jobs
            if job.kind != "union"
            for shard in list_shards(self._out, job.name)
        )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set PyTorch's threads for a block: their number changes the last digits of float32."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
