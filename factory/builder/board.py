"""Shared state of the ranks of one launch: which shards are taken, and which are finished."""

from __future__ import annotations

from collections.abc import Sequence

from factory.builder.ranks import Ranks
from factory.shards.manifest import ShardEntry

_TASKS_PER_QUESTION = 1024


class LaunchBoard:
    """The tasks of one phase, stored in the store of the process group; a task is a shard."""

    def __init__(self, ranks: Ranks, phase: str) -> None:
        """Create a board without any taken task.

        Args:
            ranks: The ranks of this launch.
            phase: Prefix of the keys in the store, so that phases do not mix.
        """
        self._ranks = ranks
        self._phase = phase

    def take(self) -> int:
        """Return the next number of a counter that all ranks share, from 0."""
        return self._ranks.take(f"{self._phase}-next")

    def is_first(self, task: int) -> bool:
        """Take a task; return False if another rank of this launch has taken it before."""
        return self._ranks.take(f"{self._phase}-{task}-taken") == 0

    def untaken(self, tasks: Sequence[int]) -> list[int]:
        """Return the tasks that no rank of this launch has taken."""
        return [
            task
            for start in range(0, len(tasks), _TASKS_PER_QUESTION)
            for task in self._untaken(tasks[start : start + _TASKS_PER_QUESTION])
        ]

    def _untaken(self, tasks: Sequence[int]) -> list[int]:
        """Search by halves: most tasks are taken, and one query covers many of them."""
        if self._ranks.are_announced([f"{self._phase}-{task}-taken" for task in tasks]):
            return []
        if len(tasks) == 1:
            return list(tasks)
        half = len(tasks) // 2
        return self._untaken(tasks[:half]) + self._untaken(tasks[half:])

    def settle(self, task: int, entry: ShardEntry) -> None:
        """Report to all ranks that a task's shard is finished, with its manifest entry."""
        self._ranks.announce(f"{self._phase}-{task}", entry.model_dump_json())
        self._ranks.add(f"{self._phase}-settled", 1)

    def num_settled(self) -> int:
        """Return the number of finished tasks."""
        return self._ranks.add(f"{self._phase}-settled", 0)

    def entry(self, task: int) -> ShardEntry:
        """Return the manifest entry of a finished task's shard."""
        return ShardEntry.model_validate_json(self._ranks.announced(f"{self._phase}-{task}"))
