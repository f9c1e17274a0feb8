"""`status`: report the progress of a build from its directory while it runs.

A shard that exists is done; a claim without a shard is being worked on, or was when its process
died. Nothing else is read and nothing is written, so it can be called at any time from any machine.

Speed is the images of the last finished shards over the time between the first and the last of
them, by file modification times. These come from one file system's clock, so the difference is
right even if the clock is wrong. The images of the first shard are excluded, because its start is
unknown. Pauses count as time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from factory.builder import owner
from factory.builder.claim_files import ClaimFolder
from factory.builder.claims import field_of
from factory.common.storage import AnyPath, open_path
from factory.shards.directory import require_set
from factory.shards.layout import present_shards, total_shards
from factory.shards.manifest import ConfigEntry, Manifest
from factory.shards.parquet import shard_rows
from factory.shards.stamp import read_stamp

# Enough shards to average out a slow one, few enough to follow a change.
_LATEST = 20
# Minimum number of rounds of all workers before speed is reported.
_ROUNDS = 2


@dataclass(frozen=True)
class ConfigStatus:
    """Progress of one config.

    Attributes:
        name: The config.
        kind: `set`, `share` or `union`; a union has no shards of its own.
        shards: Planned number of shards.
        done: Number of existing shards.
        running: Number of claimed shards that do not exist yet.
        images: Planned number of images.
        images_done: Images in the existing shards, failed ones included.
        failed: Failed images among them.
        complete: Whether the manifest lists it as complete.
    """

    name: str
    kind: str
    shards: int
    done: int
    running: int
    images: int
    images_done: int
    failed: int
    complete: bool

    @property
    def missing(self) -> int:
        """Shards that are neither done nor claimed."""
        return self.shards - self.done - self.running


@dataclass(frozen=True)
class Worker:
    """A claim on a shard.

    Attributes:
        config: Config of the shard.
        shard: Its number.
        launch: Name of the launch, the same for all its processes.
        alive: True or False for processes on this machine; None on another machine.
    """

    config: str
    shard: int
    launch: str
    alive: bool | None


@dataclass(frozen=True)
class Status:
    """Progress of a build.

    Attributes:
        out: Dataset directory.
        configs: In the manifest's order.
        workers: Existing claims.
        images_per_s: All processes together; None if too few shards are finished.
        seconds_left: Estimate at that speed, for generated images; None if unknown.
        last_shard_s: Seconds since the last shard was finished, by this machine's clock.
        notes: Why a value is unknown, and other remarks.
    """

    out: str
    configs: tuple[ConfigStatus, ...]
    workers: tuple[Worker, ...]
    images_per_s: float | None
    seconds_left: float | None
    last_shard_s: float | None
    notes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every config is complete."""
        return all(one.complete for one in self.configs)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        configs = [{**asdict(one), "missing": one.missing} for one in self.configs]
        return {**asdict(self), "configs": configs, "complete": self.complete}


def status(out: str | Path) -> Status:
    """Return the progress of a build.

    Args:
        out: Dataset directory or URL.

    Raises:
        UserError: There is no dataset.
    """
    place = open_path(out)
    found = require_set(place)
    workers = tuple(_workers(place))
    configs = [_config(place, found, name, workers) for name in found.configs]
    finished = _finished(place, found)
    at_work = sum(worker.alive is not False for worker in workers)
    left = sum(one.images - one.images_done for one in configs if one.kind == "set")
    speed = _speed(finished, at_work=at_work) if left else None
    return Status(
        out=str(out),
        configs=tuple(configs),
        workers=workers,
        images_per_s=speed,
        seconds_left=left / speed if speed and at_work else None,
        last_shard_s=time.time() - finished[-1][0] if finished else None,
        notes=tuple(_notes(configs, workers, left=left, at_work=at_work, speed=speed)),
    )


def _workers(out: AnyPath) -> Iterator[Worker]:
    """Yield the claims on shards; the newest of each."""
    claims = ClaimFolder(out)
    newest: dict[tuple[str, int], tuple[int, str]] = {}
    for name in claims.names():
        # `CONFIG.SHARD.GENERATION`; a config's name may contain dots.
        config, _, rest = name.rpartition(".")[0].rpartition(".")
        generation = name.rpartition(".")[2]
        if config and rest.isdecimal() and generation.isdecimal():
            key, found = (config, int(rest)), (int(generation), name)
            newest[key] = max(newest.get(key, found), found)
    for (config, shard), (_, name) in sorted(newest.items()):
        text = claims.read(name)
        if text is not None:
            who = field_of(text, "owner")
            alive = True if owner.is_here(who) else False if owner.is_dead(who) else None
            yield Worker(config, shard, field_of(text, "launch"), alive)


def _config(out: AnyPath, found: Manifest, name: str, workers: Sequence[Worker]) -> ConfigStatus:
    entry, size = found.configs[name], found.settings.shard_size
    there = present_shards(out, found, name)
    claimed = {one.shard for one in workers if one.config == name and one.alive is not False}
    return ConfigStatus(
        name=name,
        kind=entry.kind,
        shards=total_shards(found, name),
        done=len(there),
        running=len(claimed - there.keys()),
        images=entry.images,
        images_done=sum(
            len(shard_rows(index, num_images=entry.images, shard_size=size)) for index in there
        ),
        failed=_failed(out, entry, there.values()),
        complete=entry.complete,
    )


def _failed(out: AnyPath, entry: ConfigEntry, files: Iterable[str]) -> int:
    """Return the number of failed images, from the manifest or the existing shards."""
    if entry.complete:
        return len(entry.failed)
    return sum(_num_failed(out / file) for file in files)


def _num_failed(path: AnyPath) -> int:
    """Return the number of failed images in a shard; 0 for damaged ones, which `verify` reports."""
    try:
        stamp = read_stamp(path)
    except (OSError, ValueError):
        return 0
    return len(stamp.failed) if stamp else 0


def _finished(out: AnyPath, found: Manifest) -> list[tuple[float, int]]:
    """Return finish times and image counts of the latest generated shards, in that order."""
    size = found.settings.shard_size
    times = [
        (modified, len(shard_rows(index, num_images=entry.images, shard_size=size)))
        for name, entry in found.configs.items()
        if entry.kind == "set"
        for index, file in present_shards(out, found, name).items()
        if (modified := _modified(out / file)) is not None
    ]
    return sorted(times)


def _modified(path: AnyPath) -> float | None:
    """Return a file's modification time; None if it disappeared or the store has none."""
    try:
        return float(path.stat().st_mtime) or None
    except (OSError, AttributeError):
        return None


def _speed(finished: Sequence[tuple[float, int]], *, at_work: int) -> float | None:
    """Return images per second over the latest shards."""
    latest = finished[-max(_LATEST, _ROUNDS * at_work) - 1 :]
    if len(latest) <= max(1, _ROUNDS * at_work):
        return None
    seconds = latest[-1][0] - latest[0][0]
    return sum(images for _, images in latest[1:]) / seconds if seconds > 0 else None


def _notes(
    configs: Sequence[ConfigStatus],
    workers: Sequence[Worker],
    *,
    left: int,
    at_work: int,
    speed: float | None,
) -> Iterator[str]:
    dead = len(workers) - sum(worker.alive is not False for worker in workers)
    unknown = sum(worker.alive is None for worker in workers)
    unfinished = not all(one.complete for one in configs)
    if dead:
        yield f"{dead} shards are claimed by processes that have ended; a build takes them over"
    if unknown:
        yield f"{unknown} claims belong to other machines; whether they are active is unknown here"
    if unfinished and not workers:
        yield "no process is working here; run the same build command to resume"
    if left and at_work and speed is None:
        yield "speed is shown once every process has finished a few shards"
