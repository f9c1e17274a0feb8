"""Report how far a build is, from the files in its directory.

An existing shard is done. A missing shard with a marker is being generated, or was when its build
was killed. Nothing is written, so `status` can be called at any time and from any machine.

Speed is the number of images in the last finished shards, divided by the time between the first and
the last of them by file modification time. These times come from one file system's clock, so the
difference is right even if the clock is wrong. The images of the first shard are excluded, because
its start is unknown. Pauses count as time.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from factory.builder.markers import list_markers
from factory.builder.partial_shards import num_kept
from factory.common.storage import AnyPath, open_path
from factory.shards.directory import require_set
from factory.shards.layout import present_shards, total_shards
from factory.shards.manifest import ConfigEntry, Manifest
from factory.shards.parquet import DATA, list_shards, shard_rows
from factory.shards.stamp import num_failed

# Enough shards to average out a slow one, few enough to follow a change.
_LATEST = 20
# So many rounds of all workers must be over before their speed is shown.
_ROUNDS = 2


@dataclass(frozen=True)
class ConfigStatus:
    """Progress of one config.

    Attributes:
        name: Name of the config.
        kind: `set`, `share` or `union`; a union has no shards of its own, but its members' images.
        shards: Planned number of shards.
        done: Number of existing shards.
        running: Number of missing shards with a marker.
        images: Planned number of images.
        images_done: Images in the existing shards, failed ones included.
        images_kept: Finished images of missing shards, failed ones included.
        failed: Failed images among them.
        complete: Whether the manifest lists all shards of the config.
    """

    name: str
    kind: str
    shards: int
    done: int
    running: int
    images: int
    images_done: int
    images_kept: int
    failed: int
    complete: bool

    @property
    def missing(self) -> int:
        """Number of missing shards without a marker."""
        return self.shards - self.done - self.running


@dataclass(frozen=True)
class Worker:
    """A process that has marked a missing shard; it is running unless it was killed.

    Attributes:
        config: Config of the shard.
        shard: Number of the shard.
        process: Machine and process number.
    """

    config: str
    shard: int
    process: str


@dataclass(frozen=True)
class Status:
    """Progress of a build.

    Attributes:
        out: Dataset directory.
        configs: Progress of the configs, in the manifest's order.
        workers: Processes that have marked missing shards.
        images_per_s: Speed of all processes together; None if too few shards are finished.
        seconds_left: Time at this speed for the images still to be generated; None if unknown.
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

    Raises:
        UserError: There is no dataset.
    """
    place = open_path(out)
    found = require_set(place)
    there = {name: _present(place, found, name) for name in found.configs}
    workers = tuple(_workers(place, there))
    alone = {name: _config(place, found, name, there[name], workers) for name in found.configs}
    configs = [
        _with_members(one, [alone[leaf] for leaf in found.leaves(name)])
        for name, one in alone.items()
    ]
    finished = _finished(place, found, there)
    at_work = len(workers)
    own = [one for one in configs if one.kind == "set"]
    left = sum(one.images - one.images_done - one.images_kept for one in own)
    speed = _speed(finished, at_work=at_work) if left else None
    return Status(
        out=str(out),
        configs=tuple(configs),
        workers=workers,
        images_per_s=speed,
        seconds_left=left / speed if speed and at_work else None,
        last_shard_s=time.time() - finished[-1][0] if finished else None,
        notes=tuple(_notes(configs, left=left, at_work=at_work, speed=speed)),
    )


def _present(out: AnyPath, found: Manifest, name: str) -> dict[int, str]:
    """Return the files of a config's finished shards by number, going by file names."""
    files = {f"{DATA}/{name}/{shard.path.name}" for shard in list_shards(out, name)}
    return present_shards(found, name, files)


def _workers(out: AnyPath, there: Mapping[str, Mapping[int, str]]) -> Iterator[Worker]:
    """Yield the processes that have marked missing shards."""
    for one in list_markers(out):
        if one.config in there and one.shard not in there[one.config]:
            with suppress(FileNotFoundError):
                yield Worker(one.config, one.shard, one.process())


def _config(
    out: AnyPath,
    found: Manifest,
    name: str,
    there: Mapping[int, str],
    workers: Sequence[Worker],
) -> ConfigStatus:
    entry, size = found.configs[name], found.settings.shard_size
    marked = {one.shard for one in workers if one.config == name}
    total = total_shards(found, name)
    missing = set(range(total)) - there.keys()
    return ConfigStatus(
        name=name,
        kind=entry.kind,
        shards=total,
        done=len(there),
        running=len(marked - there.keys()),
        images=entry.images,
        images_done=sum(
            len(shard_rows(index, num_images=entry.images, shard_size=size)) for index in there
        ),
        images_kept=0 if entry.complete else num_kept(out, found, name, missing),
        failed=_failed(out, entry, there.values()),
        complete=entry.complete,
    )


def _with_members(one: ConfigStatus, leaves: Sequence[ConfigStatus]) -> ConfigStatus:
    """Return a config with the images of those whose files it reads."""
    return replace(
        one,
        images=sum(leaf.images for leaf in leaves),
        images_done=sum(leaf.images_done for leaf in leaves),
        images_kept=sum(leaf.images_kept for leaf in leaves),
        failed=sum(leaf.failed for leaf in leaves),
    )


def _failed(out: AnyPath, entry: ConfigEntry, files: Iterable[str]) -> int:
    """Return the number of failed images, from the manifest or the existing shards."""
    if entry.complete:
        return len(entry.failed)
    return sum(_num_failed(out / file) for file in files)


def _num_failed(path: AnyPath) -> int:
    """Return the number of failed images in a shard; 0 for damaged ones, which `verify` reports."""
    try:
        return num_failed(path)
    except (OSError, ValueError):
        return 0


def _finished(
    out: AnyPath, found: Manifest, there: Mapping[str, Mapping[int, str]]
) -> list[tuple[float, int]]:
    """Return finish times and image counts of the latest generated shards, in that order."""
    size = found.settings.shard_size
    times = [
        (modified, len(shard_rows(index, num_images=entry.images, shard_size=size)))
        for name, entry in found.configs.items()
        if entry.kind == "set"
        for index, file in there[name].items()
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
    *,
    left: int,
    at_work: int,
    speed: float | None,
) -> Iterator[str]:
    unfinished = not all(one.complete for one in configs)
    if at_work:
        yield "killed builds also count as running until another process finishes their shards"
    if unfinished and not at_work:
        yield "no build is running here; the same build command resumes it"
    if left and at_work and speed is None:
        yield "the speed is shown once every process has finished a few shards"
