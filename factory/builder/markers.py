"""Markers: the shards that builds are generating now, for other launches in the same directory.

A process that begins a shard creates `OUT/.working/<config>/<shard>.<number>`, and removes it when
the shard is there. Others generate the shards without a marker first. A marker saves work and
guards nothing: a shard's file is created only if it is absent, so of two copies one is dropped.
That is why markers need no sign of life and no expiry. A build that was killed leaves its markers;
their shards are generated last.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from factory.common.errors import Failure
from factory.common.inside import WORKING
from factory.common.storage import AnyPath, entries, is_local, remove_if_empty, write_bytes
from factory.shards.manifest import Manifest

_MAX_BYTES = 500
_MOST_TRIES = 100
_NAME = re.compile(r"(\d{5,})\.(\d{1,9})")


@dataclass(frozen=True)
class Marker:
    """A marker that is there.

    Attributes:
        config: Of the shard.
        shard: Its number.
        number: 0 for the first process that generates the shard, 1 for the next one, ...
        path: Its file, which names the process.
    """

    config: str
    shard: int
    number: int
    path: AnyPath

    def process(self) -> str:
        """Return the machine and number of the process.

        Raises:
            FileNotFoundError: The marker was removed meanwhile.
        """
        if not self.path.is_file():
            # A dataset of others may have a pipe in its place, which is never read to its end.
            return ""
        with self.path.open("rb") as file:
            return file.read(_MAX_BYTES).decode(errors="replace").strip()


class Markers:
    """The markers in a dataset's directory, as one process adds and removes them."""

    def __init__(self, out: AnyPath) -> None:
        """Touch nothing yet."""
        self._out = out
        self._text = f"{socket.gethostname()}, process {os.getpid()}\n".encode()

    def add(self, config: str, shard: int, number: int) -> bool:
        """Mark a shard; return False where another process has taken the number."""
        for _ in range(_MOST_TRIES):
            try:
                return write_bytes(self._path(config, shard, number), self._text, exclusive=True)
            except FileNotFoundError:
                # Another build has just ended and removed the empty folder.
                continue
        raise Failure(f"{self._out / WORKING}: cannot be written; check the folder or bucket")

    def remove(self, config: str, shard: int, numbers: range) -> None:
        """Remove markers of a shard, as far as they are there."""
        for number in numbers:
            self._path(config, shard, number).unlink(missing_ok=True)

    def next_numbers(self, configs: set[str]) -> dict[tuple[str, int], int]:
        """Return the next free number of each marked shard, by config and shard."""
        found: dict[tuple[str, int], int] = {}
        for config in configs:
            for one in _markers_of(self._out / WORKING / config):
                key = config, one.shard
                found[key] = max(found.get(key, 0), one.number + 1)
        return found

    def _path(self, config: str, shard: int, number: int) -> AnyPath:
        return self._out / WORKING / config / f"{shard:05d}.{number}"


def list_markers(out: AnyPath) -> list[Marker]:
    """Return all markers in a dataset's directory."""
    folder = out / WORKING
    return [one for config in entries(folder) for one in _markers_of(config)]


def left_over_markers(out: AnyPath, manifest: Manifest) -> list[AnyPath]:
    """Return the files of markers that say nothing any more: all shards of their config exist."""
    waiting = {name for name, entry in manifest.configs.items() if not entry.complete}
    return [one.path for one in list_markers(out) if one.config not in waiting]


def remove_empty_folders(out: AnyPath) -> None:
    """Remove the folders of markers that hold none."""
    folder = out / WORKING
    if is_local(folder) and not folder.is_symlink():
        for path in entries(folder):
            remove_if_empty(path)
        remove_if_empty(folder)


def _markers_of(folder: AnyPath) -> Iterator[Marker]:
    """Yield the markers of a config."""
    for path in entries(folder):
        if match := _NAME.fullmatch(path.name):
            yield Marker(folder.name, int(match[1]), int(match[2]), path)
