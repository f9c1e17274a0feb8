"""Keep the finished images of shards that are not finished.

While a shard is generated, its finished batches are written every few seconds, and when the build
is stopped, as a file of their own: `OUT/.working/<config>/train-00003-<key>.parquet`, with a stamp
like a shard's. The process that generates the shard next uses them and removes them. Like markers
they only save work: bytes do not depend on them, and no command but `build` reads their rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from factory.builder.behind import Ending
from factory.builder.rows import GrowingRows, ShardRows
from factory.common.local_paths import WORKING
from factory.common.storage import AnyPath, entries
from factory.shards.generations import Generation, latest, newest
from factory.shards.layout import file_of, number_of
from factory.shards.manifest import Manifest, ShardEntry
from factory.shards.parquet import read_rows, write_shard
from factory.shards.stamp import Stamp, inspect, read_stamp

if TYPE_CHECKING:
    import pyarrow

SECONDS = 10.0
"""Time between two files of a shard: what a killed process may lose, besides two batches, of each
shard in hand."""


@dataclass
class PartialShards:
    """Writes, reads and removes the partial shards of a dataset.

    Attributes:
        out: Dataset directory.
        begun: Generation of the build; its manifest decides the names of files.
        schema: Columns of the dataset.
    """

    out: AnyPath
    begun: Generation
    schema: pyarrow.Schema
    _seen: dict[tuple[str, int], list[AnyPath]] = field(default_factory=dict)

    def read(self, wanted: Stamp, start: int) -> ShardRows:
        """Return the kept images of a shard from index `start` on, up to the first missing one.

        Args:
            wanted: Stamp of the whole shard: files of other recipes or settings are not used.
            start: First index that is needed.
        """
        found, usable = ShardRows(), dict(self._usable(wanted))
        while reaching := [path for path, stamp in usable.items() if start in _images(stamp)]:
            path = max(reaching, key=lambda path: usable[path].stop)
            stamp = usable.pop(path)
            # Another process may just have finished the shard.
            with suppress(FileNotFoundError):
                found += ShardRows(read_rows(path), list(stamp.failed)).since(start)
                start = stamp.stop
        return found

    def write(self, stamp: Stamp, rows: ShardRows) -> None:
        """Write the images of one file, unless another launch has completed them."""
        name = file_of(stamp, self.begun.written).rpartition("/")[2]
        path = self.out / WORKING / stamp.config / name
        self._see(stamp, path)
        # The folder may be removed at any time.
        with suppress(FileNotFoundError):
            write_shard(path, rows.rows, schema=self.schema, stamp=stamp)
        # Checked after the write: the process may have been suspended before it.
        if self._were_completed(stamp):
            path.unlink(missing_ok=True)

    def remove(self, config: str, index: int) -> None:
        """Remove the files of a shard that were written or read: it is finished."""
        for path in self._seen.pop((config, index), ()):
            path.unlink(missing_ok=True)

    def _see(self, stamp: Stamp, path: AnyPath) -> None:
        index = stamp.start // self.begun.written.settings.shard_size
        self._seen.setdefault((stamp.config, index), []).append(path)

    def _were_completed(self, stamp: Stamp) -> bool:
        """Return whether another launch has completed the images since this build began."""
        name = stamp.config
        if latest(self.out) == self.begun.number or self.begun.written.configs[name].complete:
            return False
        now = newest(self.out).manifest
        entry = now.configs.get(name) if now else None
        if entry is None or not entry.complete:
            return False
        # A launch may complete fewer images than this build; then the others are needed to grow it.
        return entry.fingerprint != stamp.fingerprint or stamp.stop <= entry.images

    def _usable(self, wanted: Stamp) -> Iterator[tuple[AnyPath, Stamp]]:
        """Yield the undamaged files with images of a shard."""
        index = wanted.start // self.begun.written.settings.shard_size
        for path in partial_shards(self.out, wanted.config):
            if number_of(path.name) != index:
                continue
            self._see(wanted, path)
            with suppress(FileNotFoundError):
                found = inspect(path)
                stamp = found.stamp
                if found.fault or stamp is None or not set(found.columns) <= set(self.schema.names):
                    continue
                is_inside = wanted.start <= stamp.start and stamp.stop <= wanted.stop
                if is_inside and stamp.model_copy(update={"start": wanted.start}).is_of(wanted):
                    yield path, stamp


@dataclass
class Unfinished:
    """A shard that is being generated; its finished batches are written every few seconds.

    Attributes:
        rows: Its batches.
        start: First image that is not in a file.
        write: Writes the rows of some images.
        ending: The end of the shard; the thread that runs it keeps the batches.
    """

    rows: GrowingRows
    start: int
    write: Callable[[range, ShardRows], None]
    ending: Ending
    _since_s: float = field(default_factory=time.monotonic)

    def save_if_due(self) -> None:
        """Write the batches that were finished since the last file, if that was long ago."""
        if time.monotonic() - self._since_s >= SECONDS:
            self.save(self.rows.encoded())
            self._since_s = time.monotonic()

    def save(self, rows: ShardRows) -> None:
        """Write those of some rows that are in no file yet."""
        new = rows.since(self.start)
        # If all images fail, the next build tries again.
        if new.rows:
            images = range(self.start, self.start + len(new))
            self.write(images, new)
            self.start = images.stop

    @contextmanager
    def saved_at_end(self, *, unless: type[BaseException]) -> Iterator[None]:
        """Write the finished batches if the block is interrupted or fails.

        Not if a thread has begun to end the shard.

        Args:
            unless: Raised if the shard is not needed any more.
        """
        try:
            yield
        except unless:
            raise
        except BaseException:
            if self.ending.cancel():
                self._save_all()
            raise

    def finish(self, end: Callable[[], ShardEntry | None]) -> ShardEntry | None:
        """End the shard in a thread of its own; write the batches if that fails."""
        try:
            return end()
        except BaseException:
            self._save_all()
            raise

    def _save_all(self) -> None:
        # The reason for the end is more important than that of a failed write.
        with suppress(Exception):
            self.save(self.rows.all())


def partial_shards(out: AnyPath, config: str) -> list[AnyPath]:
    """Return the files of a config's unfinished shards."""
    folder = out / WORKING / config
    return [path for path in entries(folder) if number_of(path.name) is not None and path.is_file()]


def left_over_partial_shards(out: AnyPath, manifest: Manifest) -> list[AnyPath]:
    """Return the partial shards of complete configs."""
    waiting = {name for name, entry in manifest.configs.items() if not entry.complete}
    names = [folder.name for folder in entries(out / WORKING) if folder.name not in waiting]
    return [path for name in names for path in partial_shards(out, name)]


def num_kept(out: AnyPath, manifest: Manifest, config: str, missing: Collection[int]) -> int:
    """Return the number of finished images of missing shards: in partial and outgrown ones.

    Args:
        out: Dataset directory.
        manifest: Its manifest.
        config: Name of the config.
        missing: Numbers of its missing shards.
    """
    entry, size = manifest.configs[config], manifest.settings.shard_size
    found = [
        (index * size, index * size + one.rows + len(one.failed))
        for index, one in enumerate(entry.shards)
        if index in missing
    ]
    for path in partial_shards(out, config) if missing else ():
        with suppress(OSError, ValueError):
            stamp = read_stamp(path)
            if stamp.start // size in missing and stamp.fingerprint == entry.fingerprint:
                found.append((stamp.start, stamp.stop))
    kept = reached = 0
    for start, stop in sorted(found):
        kept += max(0, stop - max(start, reached))
        reached = max(reached, stop)
    return kept


def _images(stamp: Stamp) -> range:
    return range(stamp.start, stamp.stop)
