"""Where the ranks of a build leave values for each other: counters and events.

The store of a process group is in one of its processes, and takes values of limited size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from factory.common.errors import Failure, first_line

Answer = TypeVar("Answer")


class Store(Protocol):
    """Values by key, shared by all ranks; a counter is the value of its key."""

    def add(self, key: str, count: int) -> int:
        """Add to a counter and return its new value."""
        ...

    def set(self, key: str, value: bytes) -> None:
        """Write a value."""
        ...

    def get(self, key: str) -> bytes:
        """Return a value that exists."""
        ...

    def check(self, keys: list[str]) -> bool:
        """Return whether all keys have values."""
        ...


class OwnStore:
    """Store of a process without others; it needs no torch."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    def add(self, key: str, count: int) -> int:
        """Add to a counter and return its new value."""
        found = int(self._values.get(key, b"0")) + count
        self._values[key] = b"%d" % found
        return found

    def set(self, key: str, value: bytes) -> None:
        """Write a value."""
        self._values[key] = value

    def get(self, key: str) -> bytes:
        """Return a value that exists."""
        return self._values[key]

    def check(self, keys: list[str]) -> bool:
        """Return whether all keys have values."""
        return all(key in self._values for key in keys)


class GroupStore:
    """Store of the process group that a launcher has created."""

    def __init__(self, rank: int, prefix: str) -> None:
        """Open the store.

        Args:
            rank: Number of this process, for messages.
            prefix: Separates a build from earlier builds in the same processes, and from the rounds
                before a restart, because torchrun keeps one store for all of them.
        """
        import torch.distributed

        # torch has no types for its stores.
        dist: Any = torch.distributed
        shared = dist.is_available() and dist.is_initialized()
        store = dist.distributed_c10d._get_default_store() if shared else dist.HashStore()
        self._store: Any = dist.PrefixStore(prefix, store)
        self._rank = rank
        self._lost = dist.DistError

    def add(self, key: str, count: int) -> int:
        """Add to a counter and return its new value."""
        return int(self._ask(lambda: self._store.add(key, count)))

    def set(self, key: str, value: bytes) -> None:
        """Write a value."""
        self._ask(lambda: self._store.set(key, value))

    def get(self, key: str) -> bytes:
        """Return a value that exists."""
        return bytes(self._ask(lambda: self._store.get(key)))

    def check(self, keys: list[str]) -> bool:
        """Return whether all keys have values."""
        return bool(self._ask(lambda: self._store.check(keys)))

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        """Query the store, which is in another process.

        Raises:
            Failure: That process has ended.
        """
        try:
            return question()
        except self._lost as error:
            raise Failure(
                f"rank {self._rank}: the process that coordinates the others is gone "
                f"({first_line(error)}); run the same command again to resume"
            ) from None
