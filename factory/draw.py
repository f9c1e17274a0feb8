"""The rows of one shard: drawn by a renderer, or copied from the shards of other sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from factory.errors import Failure
from factory.flaws import NOT_FINITE
from factory.jobs import Job
from factory.shards import Row, encode_picture, read_rows, shard_path

if TYPE_CHECKING:
    from factory.planner import ImageSpec
    from factory.render import Picture, Renderer

# Encoding a 512 px PNG takes about as long as a GPU draws it; PIL lets go of the interpreter
# meanwhile.
_ENCODERS = 4


def draw_rows(
    job: Job,
    shard: range,
    *,
    kept: int,
    renderer: Renderer,
    batch_size: int,
    drawn: Callable[[int], None],
) -> list[Row]:
    """Draw the rows of a shard that are missing.

    A batch is always the same run of a shard's indexes, so one that holds a missing row is drawn
    whole.

    Args:
        job: The set.
        shard: Image indexes of the shard.
        kept: How many of its first rows exist already.
        renderer: Draws the pictures.
        batch_size: Fixed for the set.
        drawn: Told after each batch how many missing rows it brought.

    Raises:
        Failure: a picture could not be drawn.
    """
    from factory.planner import plan

    planned = plan(job.recipe)
    missing_from = shard.start + kept
    rows: list[Row] = []
    with ThreadPoolExecutor(_ENCODERS) as pool:
        for start in range(shard.start, shard.stop, batch_size):
            stop = min(start + batch_size, shard.stop)
            if stop <= missing_from:
                continue
            specs = planned.rows(start, stop)
            pictures = [_usable(one) for one in renderer.render(specs, batch_size=batch_size)]
            skipped = max(missing_from - start, 0)
            rows += _encode(job, specs[skipped:], pictures[skipped:], pool=pool)
            drawn(stop - start - skipped)
    return rows


def copy_rows(
    out: Path, job: Job, shard: range, *, totals: Mapping[str, int], shard_size: int
) -> list[Row]:
    """Copy the rows of a share's shard out of the shards of the sets it is made of.

    Args:
        out: The set's directory.
        job: The share.
        shard: Its row numbers.
        totals: Number of shards of each set, all complete, by name.
        shard_size: Of sets and share.
    """
    from factory.planner import plan

    files: dict[tuple[str, int], list[Row]] = {}
    rows = []
    for spec in plan(job.recipe).rows(shard.start, shard.stop):
        number, place = divmod(spec.index, shard_size)
        file = (spec.recipe, number)
        if file not in files:
            path = shard_path(out, spec.recipe, index=number, total=totals[spec.recipe])
            files[file] = read_rows(path)
        rows.append(files[file][place])
    return rows


def _usable(picture: Picture | None) -> Picture:
    if picture is None:
        raise Failure(f"{NOT_FINITE}; try --dtype float32, or another scheduler")
    return picture


def _encode(
    job: Job, specs: Sequence[ImageSpec], pictures: Sequence[Picture], *, pool: ThreadPoolExecutor
) -> list[Row]:
    encoded = pool.map(lambda picture: encode_picture(picture, job.recipe.output), pictures)
    return [
        {**spec.as_row(), "image": {"bytes": data, "path": None}}
        for spec, data in zip(specs, encoded, strict=True)
    ]
