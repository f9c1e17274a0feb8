"""Marker files: they show other launches in the directory which shards are in progress.

A process that starts a shard creates `OUT/.working/<config>/<shard>.<number>`, and removes it when
the shard exists. Other launches generate the shards without a marker first. Markers only avoid
duplicate work: a shard's file is created only if it does not exist, so one of two copies is
discarded. Therefore markers need no heartbeat and no expiry. The shards that a killed build has
marked are generated last.
"""

import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from factory.common.errors import Failure
from factory.common.local_paths import WORKING
from factory.common.storage import AnyPath, entries, is_local, remove_if_empty, write_bytes
from factory.shards.manifest import Manifest

_MAX_BYTES = 500
_MOST_TRIES = 100
_NAME = re.compile(r"(\d{5,})\.(\d{1,9})")


@dataclass(frozen=True)
class Marker:
    """An existing marker.

    Attributes:
        config: Config of the shard.
        shard: Number of the shard.
        number: 0 for the first process that generates the shard, 1 for the next one, ...
        path: The marker file, which contains machine and process number, and a random line.
    """

    config: str
    shard: int
    number: int
    path: AnyPath

    def process(self) -> str:
        """Return the machine and process number stored in the marker.

        Raises:
            FileNotFoundError: The marker was removed in the meantime.
        """
        if not self.path.is_file():
            # A dataset of others may have a pipe in its place, which is never read to its end.
            return ""
        with self.path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode(errors="replace")
        return text.partition("\n")[0].strip()


class Markers:
    """Adds and removes the markers of this process in a dataset's directory."""

    def __init__(self, out: AnyPath) -> None:
        """Store the directory; no file is written."""
        self._out = out
        # Containers may have one host name, and their processes one number.
        unique = secrets.token_hex(8)
        self._text = f"{socket.gethostname()}, process {os.getpid()}\n{unique}\n".encode()

    def add(self, config: str, shard: int, number: int) -> bool:
        """Mark a shard; return False if another process has created the same marker.

        Raises:
            OSError: The disk is full or cannot be written; no marker remains.
        """
        path = self._path(config, shard, number)
        for _ in range(_MOST_TRIES):
            try:
                return write_bytes(path, self._text, exclusive=True)
            except FileNotFoundError:
                # Another build has just ended and removed the empty folder.
                continue
            except OSError:
                self._remove_own(path)
                raise
        raise Failure(f"{self._out / WORKING}: cannot be written; check the folder or bucket")

    def remove(self, config: str, shard: int, numbers: range) -> None:
        """Remove markers of a shard; missing ones are ignored."""
        for number in numbers:
            self._path(config, shard, number).unlink(missing_ok=True)

    def _remove_own(self, path: AnyPath) -> None:
        """Remove a marker that exists although its folder could not be synchronised."""
        with suppress(OSError):
            if path.is_file() and path.read_bytes() == self._text:
                path.unlink()

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
    """Return the marker files of complete configs."""
    waiting = {name for name, entry in manifest.configs.items() if not entry.complete}
    return [one.path for one in list_markers(out) if one.config not in waiting]


def remove_empty_folders(out: AnyPath) -> None:
    """Remove empty folders of markers."""
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
