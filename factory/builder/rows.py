"""Make the rows of one shard: generate them, or copy them from shards of other configs.

A black, uniform or non-finite image is generated again with other noise. The new seed depends on
the planned seed and the attempt number, and the flawed images of a batch form a batch of their own:
the bytes do not depend on the process that generates them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from factory.builder.jobs import Job
from factory.common.errors import Failure
from factory.common.text import plural
from factory.renderer.flaws import flaw
from factory.renderer.out_of_memory import suggesting_batch_size
from factory.shards.manifest import FailedImage
from factory.shards.parquet import Row, Shard, encode_image

if TYPE_CHECKING:
    from factory.common.image_arrays import ImageArray
    from factory.planner.plan import ImageSpec
    from factory.recipe.resolved import Output
    from factory.renderer.diffusers_renderer import Renderer
    from factory.shards.settings import FixedSettings

# Encoding a 512 px PNG takes about as long as generating it on a GPU. PIL releases the GIL, so a
# batch is encoded while the next one is generated.
_ENCODERS = 4
_TASK_BYTES = 1 << 17
"""Least pixels of a task: threads that take turns after every few small images waste much time."""


@dataclass
class ShardRows:
    """Rows of a range of indexes, and its failed images, both in order."""

    rows: list[Row] = field(default_factory=list)
    failed: list[FailedImage] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows) + len(self.failed)

    def __add__(self, other: ShardRows) -> ShardRows:
        return ShardRows(self.rows + other.rows, self.failed + other.failed)

    def since(self, start: int) -> ShardRows:
        """Return those from index `start` on."""
        rows = [row for row in self.rows if row["index"] >= start]
        return ShardRows(rows, [image for image in self.failed if image.index >= start])


def generate_rows(
    job: Job,
    shard: range,
    missing: range,
    *,
    renderer: Renderer,
    settings: FixedSettings,
    into: GrowingRows,
    generated: Callable[[int], None],
) -> None:
    """Generate missing images of a shard; its last batch may still be encoded.

    Batches are fixed runs of a shard's indexes, so a batch with a missing image is generated in
    full.

    Args:
        job: The config.
        shard: Image indexes of the shard.
        missing: Those to generate; it ends with a batch.
        renderer: Generates the images.
        settings: Build settings of the dataset.
        into: Receives the batches.
        generated: Called after each batch with the number of missing images it added.

    Raises:
        Failure: There is too little memory.
    """
    from factory.planner.plan import plan

    if not missing:
        return
    size = settings.batch_size
    first = missing.start - (missing.start - shard.start) % size
    # All at once: a range of rows costs much more than a row.
    specs = plan(job.recipe).rows(first, missing.stop)
    pool = ThreadPoolExecutor(_ENCODERS)
    try:
        for start in range(first, missing.stop, size):
            own = specs[start - first : start - first + size]
            tries = _generate_batch(own, renderer=renderer, settings=settings)
            batch = _Batch.of(tries[max(missing.start - start, 0) :], job, pool)
            into.add(start, batch)
            generated(len(batch.good))
    finally:
        # `GrowingRows.all` waits for the last batch.
        pool.shutdown(wait=False)


def copy_rows(
    job: Job, shard: range, *, read: Callable[[str, int], Shard], shard_size: int
) -> ShardRows:
    """Copy the rows of an equal-share shard from the shards of its members.

    Rows are found by their `index` column, since failed images have no row.
    """
    from factory.planner.plan import plan

    sources: dict[tuple[str, int], tuple[dict[int, Row], dict[int, FailedImage]]] = {}
    found = ShardRows()
    for place, spec in zip(shard, plan(job.recipe).rows(shard.start, shard.stop), strict=True):
        number = spec.index // shard_size
        source = (spec.recipe, number)
        if source not in sources:
            member = read(spec.recipe, number)
            sources[source] = (
                {row["index"]: row for row in member.rows},
                {image.index: image for image in member.stamp.failed},
            )
        rows, failed = sources[source]
        if spec.index in failed:
            found.failed.append(failed[spec.index].model_copy(update={"index": place}))
        else:
            found.rows.append(rows[spec.index])
    return found


@dataclass(frozen=True)
class _Try:
    """The last attempt at an image."""

    spec: ImageSpec
    pixels: ImageArray | None
    flaw: str | None


def _generate_batch(
    specs: Sequence[ImageSpec], *, renderer: Renderer, settings: FixedSettings
) -> list[_Try]:
    """Generate a batch, and regenerate flawed images up to the maximum number of attempts."""
    tries: dict[int, _Try] = {}
    wanted = {place: spec for place, spec in enumerate(specs)}
    for attempt in range(settings.attempts):
        batch = [spec.again(attempt) if attempt else spec for spec in wanted.values()]
        with suggesting_batch_size(batch, renderer=renderer, batch_size=settings.batch_size):
            images = renderer.render(batch, batch_size=settings.batch_size)
        for place, spec, pixels in zip(wanted, batch, images, strict=True):
            tries[place] = _Try(spec, pixels, flaw(pixels))
        wanted = {place: spec for place, spec in wanted.items() if tries[place].flaw}
        if not wanted:
            break
    return [tries[place] for place in range(len(specs))]


@dataclass(frozen=True)
class _Batch:
    """The last attempts at the images of a batch; the usable ones are being encoded."""

    good: Sequence[_Try]
    flawed: Sequence[_Try]
    encoded: Sequence[Future[list[bytes]]]

    @classmethod
    def of(cls, tries: Sequence[_Try], job: Job, pool: ThreadPoolExecutor) -> _Batch:
        """Start encoding, in one part per encoder; small images are encoded in fewer parts."""
        good = [one for one in tries if one.flaw is None]
        images = [one.pixels for one in good if one.pixels is not None]
        tasks = min(_ENCODERS, max(1, sum(image.nbytes for image in images) // _TASK_BYTES))
        size = max(1, -(-len(images) // tasks))
        parts = [images[start : start + size] for start in range(0, len(images), size)]
        encoded = [pool.submit(_encode, part, job.recipe.output) for part in parts]
        return cls(good, [one for one in tries if one.flaw is not None], encoded)

    def rows(self) -> ShardRows:
        """Return the rows of usable images, and the others as failed."""
        data = [one for part in self.encoded for one in part.result()]
        rows = [
            {**one.spec.as_row(), "image": {"bytes": encoded, "path": None}}
            for one, encoded in zip(self.good, data, strict=True)
        ]
        failed = [
            FailedImage(
                index=one.spec.index,
                label=one.spec.label,
                reason=one.flaw or "",
                attempts=one.spec.attempt + 1,
            )
            for one in self.flawed
        ]
        return ShardRows(rows, failed)


@dataclass
class GrowingRows:
    """The batches of a shard while it is generated, in order.

    A signal may interrupt at any step: each step may be repeated, and no finished batch is lost.
    """

    _encoded: dict[int, ShardRows] = field(default_factory=dict)
    _encoding: dict[int, _Batch] = field(default_factory=dict)

    def add(self, start: int, batch: _Batch) -> None:
        """Add the next batch; at most two batches of pixels are in memory."""
        self._encoding[start] = batch
        self._wait([*self._encoding][:-1])

    def encoding(self) -> list[Future[list[bytes]]]:
        """Return the tasks of the batches that are being encoded."""
        return [task for batch in self._encoding.values() for task in batch.encoded]

    def encoded(self) -> ShardRows:
        """Return the rows of the batches that are encoded."""
        return ShardRows(
            [row for batch in self._encoded.values() for row in batch.rows],
            [image for batch in self._encoded.values() for image in batch.failed],
        )

    def all(self) -> ShardRows:
        """Return the rows of all batches, after encoding has finished."""
        self._wait([*self._encoding])
        return self.encoded()

    def _wait(self, starts: Sequence[int]) -> None:
        for start in starts:
            self._encoded[start] = self._encoding[start].rows()
            del self._encoding[start]


def _encode(images: Sequence[ImageArray], output: Output) -> list[bytes]:
    return [encode_image(image, output) for image in images]


def refuse_nothing(job: Job, found: ShardRows) -> None:
    """Stop if every image of a shard failed: continuing would only waste time.

    Raises:
        Failure: No image of several is usable.
    """
    if not found.rows and len(found.failed) > 1:
        first, last = found.failed[0], found.failed[-1]
        raise Failure(
            f"{job.name}: all images from {first.index} to {last.index} failed after "
            f"{plural(first.attempts, 'attempt')} each ({first.reason}); "
            "try --dtype float32, or another scheduler"
        )
