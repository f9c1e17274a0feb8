"""Provide the rows of a shard: kept, copied or generated ones."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

from factory.builder.behind import Ending
from factory.builder.costs import Costs
from factory.builder.jobs import Job
from factory.builder.partial_shards import PartialShards, Unfinished
from factory.builder.ranks import Ranks
from factory.builder.rows import (
    GrowingRows,
    ShardRows,
    copy_rows,
    generate_rows,
)
from factory.common.errors import Failure
from factory.common.storage import AnyPath
from factory.renderer.pool import Renderers, rendering_threads
from factory.shards.parquet import Shard, read_shard
from factory.shards.plan_check import Fence
from factory.shards.repair import Candidates, Found
from factory.shards.settings import FixedSettings


class LookAgain(Exception):
    """Another launch has written the shard meanwhile, or removed a file with some of its rows."""


@dataclass(frozen=True)
class MadeRows:
    """The rows of a shard; its last batch may still be encoded.

    Attributes:
        kept: Its first rows.
        unfinished: The others.
    """

    kept: ShardRows
    unfinished: Unfinished

    def all(self) -> ShardRows:
        """Return all rows, after encoding has finished."""
        return self.kept + self.unfinished.rows.all()


@dataclass
class RowMaker:
    """Provides the rows of shards.

    Attributes:
        out: Dataset directory.
        settings: Build settings of the dataset.
        fence: Plan of this launch.
        partial: Finished images of unfinished shards.
        ranks: Their store counts kept images.
        renderers: Provide the renderer of each recipe.
        costs: Count the generated images and their time.
        show: Called after each batch with the number of images it added.
        file_of: Returns the file of a finished shard, by config and number.
        made: Twins' rows in partial shards of this launch, by config and first image.
    """

    out: AnyPath
    settings: FixedSettings
    fence: Fence
    partial: PartialShards
    ranks: Ranks
    renderers: Renderers
    costs: Costs
    show: Callable[[int], None]
    file_of: Callable[[str, int], str]
    made: Counter[tuple[str, int]] = field(default_factory=Counter)
    _encoding: Sequence[Future[list[bytes]]] = ()

    @contextmanager
    def rows(
        self,
        job: Job,
        images: range,
        there: Candidates,
        twins: Sequence[Job],
        ending: Ending,
    ) -> Iterator[MadeRows]:
        """Yield the rows of a shard to the block that hands them over to its end.

        If generation or the block is interrupted, the finished images are kept for the next build.

        Args:
            job: The config.
            images: Image indexes of the shard.
            there: Its existing files; `best` has its first rows.
            twins: Configs whose shards of this range are written next.
            ending: The end of the shard.

        Raises:
            LookAgain: The shard is not needed any more, or `best` was removed.
        """
        if job.kind == "share":
            nothing = Unfinished(GrowingRows(), images.stop, lambda part, rows: None, ending)
            yield MadeRows(self._copied(job, images), nothing)
            return
        kept = self._kept(job, images, shorter=there.best)

        def save(part: range, rows: ShardRows) -> None:
            self._save(job, part, rows)
            for twin in twins:
                found = self._twin_rows(twin, images, part)
                self._save(twin, part, found)
                self.made[twin.name, images.start] += len(found.rows)

        made = GrowingRows()
        unfinished = Unfinished(made, images.start + len(kept), save, ending)

        def generated(count: int) -> None:
            # At most two batches of pixels are in memory, also where a shard begins.
            wait(self._encoding)
            self._encoding = ()
            self.show(count)
            if (self.out / there.free).is_file():
                raise LookAgain
            unfinished.save_if_due()

        with unfinished.saved_at_end(unless=LookAgain):
            missing = range(images.start + len(kept), images.stop)
            self._generate(job, images, missing, into=made, generated=generated)
            self._encoding = made.encoding()
            yield MadeRows(kept, unfinished)

    def _copied(self, job: Job, images: range) -> ShardRows:
        size = self.settings.shard_size
        rows = copy_rows(job, images, read=self._member, shard_size=size)
        self.show(len(rows.rows))
        return rows

    def _member(self, config: str, number: int) -> Shard:
        """Read a shard that this launch has made or looked at."""
        path = self.out / self.file_of(config, number)
        shard = self._read(path)
        if shard is None:
            raise Failure(
                f"{path}: was removed while its rows were copied; run the same command again to "
                "resume"
            )
        return shard

    def _read(self, path: AnyPath) -> Shard | None:
        """Read a shard of this plan; None if another launch has removed it meanwhile."""
        try:
            return read_shard(path)
        except FileNotFoundError:
            self.fence.check()
            return None

    def _kept(self, job: Job, images: range, *, shorter: Found | None) -> ShardRows:
        """Return the first rows of a shard: those of a shorter file, then those of partial ones."""
        kept = ShardRows()
        if shorter is not None:
            before = self._read(shorter.path)
            if before is None:
                raise LookAgain
            kept = ShardRows(before.rows, list(before.stamp.failed))
        wanted = job.stamp(images, settings=self.settings)
        kept += self.partial.read(wanted, images.start + len(kept))
        made = min(self.made.pop((job.name, images.start), 0), len(kept.rows))
        self.show(made)
        self.ranks.add("kept", len(kept.rows) - made)
        return kept

    def _generate(
        self,
        job: Job,
        images: range,
        missing: range,
        *,
        into: GrowingRows,
        generated: Callable[[int], None],
    ) -> None:
        def counted(count: int) -> None:
            self.costs.add(job.name, count)
            generated(count)

        renderer = self.renderers.get(job.recipe, self.settings.inference)
        # A twin's images may be made within the time of another config.
        with rendering_threads(renderer, self.settings.threads), self.costs.timed(job.name):
            generate_rows(
                job,
                images,
                missing,
                renderer=renderer,
                settings=self.settings,
                into=into,
                generated=counted,
            )

    def _save(self, job: Job, part: range, rows: ShardRows) -> None:
        stamp = job.stamp(part, settings=self.settings, failed=rows.failed)
        self.partial.write(stamp, rows)

    def _twin_rows(self, twin: Job, images: range, part: range) -> ShardRows:
        """Return a twin's rows of images that were just generated, and are in memory."""
        made = GrowingRows()
        self._generate(twin, images, part, into=made, generated=lambda count: None)
        return made.all()
