"""Builds of many ranks in simulated time: when does a rank wait at the end?

The rule is that of a process group (`Worklist.run`): a rank that is free takes the next missing
shard. Its cost is that of one marker, measured on a local disk; ranks take turns, as if one server
kept the markers. Not included: the requests to the group's store and the look for the shard's file.
How long images take, and when ranks start, is assumed.
"""

from __future__ import annotations

import heapq
import itertools
import random
import time
from pathlib import Path

from factory.common.text import plural

from .timing import Figure, Scale, Spread

_IMAGES = 1_000_000
# A CPU core at 64 px, and the goal for one H200 at 512 px.
_IMAGES_PER_S = (1, 7)
_STARTS_S = (10.0, 40.0)
# Seconds per image differ by up to 5 %; one rank takes three times as long.
_SPEEDS = (0.95, 1.05)
_SLOWEST = 3.0
_RANKS = (8, 64, 1000)
# Multiples of the default batch size: `build` generates more images than it keeps with others.
_SHARD_SIZES = (32, 128, 512, 2_048)


def run(folder: Path, scale: Scale, device: str) -> list[Figure]:
    """Measure the cost of a marker, then simulate; `device` plays no part."""
    images = scale.pick(_IMAGES, _IMAGES, 10_000)
    markers = scale.pick(10_000, 10_000, 10)
    taking = [_marker_seconds(folder / str(n), markers) for n in range(scale.pick(3, 1, 1))]
    cost = Spread.of([1000 * one for one in taking])
    note = f"{markers:,} other markers there, a local disk"
    figures = [Figure("marker of a shard", "ms", cost, note=note)]
    for ranks, speed, size in itertools.product(_RANKS, _IMAGES_PER_S, _SHARD_SIZES):
        found = [
            efficiency(images, ranks, size, 1 / speed, cost.median / 1000, seed)
            for seed in range(5)
        ]
        what = f"{ranks:,} ranks, {plural(speed, 'image')}/s each, shards of {size:,} images"
        note = f"{-(-images // size):,} files"
        figures.append(Figure(what, "efficiency", Spread.of(found), note=note))
    return figures


def efficiency(
    images: int, ranks: int, size: int, image_s: float, taking_s: float, seed: int
) -> float:
    """Return the seconds of ideal ranks divided by the simulated ones.

    Ideal ranks have the same speeds, start at once and all end at the same moment.

    Args:
        images: Of the dataset.
        ranks: Processes of one group.
        size: Images per shard; the last one may have fewer.
        image_s: Seconds of an image.
        taking_s: Seconds of taking a shard, one rank at a time.
        seed: Of speeds and starts.
    """
    rng = random.Random(seed)
    speeds = [_SLOWEST, *(rng.uniform(*_SPEEDS) for _ in range(ranks - 1))]
    free = [(rng.uniform(*_STARTS_S), rank) for rank in range(ranks)]
    heapq.heapify(free)
    server, end = 0.0, 0.0
    for first in range(0, images, size):
        now, rank = heapq.heappop(free)
        server = max(server, now) + taking_s
        done = server + image_s * speeds[rank] * min(size, images - first)
        heapq.heappush(free, (done, rank))
        end = max(end, done)
    ideal = images * image_s / sum(1 / one for one in speeds)
    return ideal / end


def _marker_seconds(out: Path, count: int) -> float:
    """Return the seconds of adding and removing a marker beside others."""
    from factory.builder.markers import Markers

    out.mkdir()
    markers = Markers(out)
    for shard in range(count):
        markers.add("base", shard, 0)
    started = time.perf_counter()
    for shard in range(count, count + 100):
        markers.add("base", shard, 0)
        markers.remove("base", shard, range(1))
    return (time.perf_counter() - started) / 100
