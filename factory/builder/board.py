"""What the ranks of one launch know together: which tasks are taken, and which are settled."""

from __future__ import annotations

from collections.abc import Sequence

from factory.builder.ranks import Ranks
from factory.shards.manifest import ShardEntry

_TASKS_PER_QUESTION = 1024


class LaunchBoard:
    """The tasks of one phase, in the store of the process group."""

    def __init__(self, ranks: Ranks, phase: str) -> None:
        """Begin with nothing taken.

        Args:
            ranks: This launch.
            phase: Keeps the tasks of one phase apart from those of another.
        """
        self._ranks = ranks
        self._phase = phase

    def take(self) -> int:
        """Return the next number of a counter that all ranks share, from 0."""
        return self._ranks.take(f"{self._phase}-next")

    def is_first(self, task: int) -> bool:
        """Take a task; return whether no rank of this launch has taken it before."""
        return self._ranks.take(f"{self._phase}-{task}-taken") == 0

    def untaken(self, tasks: Sequence[int]) -> list[int]:
        """Return those of `tasks` that no rank of this launch has taken."""
        return [
            task
            for start in range(0, len(tasks), _TASKS_PER_QUESTION)
            for task in self._untaken(tasks[start : start + _TASKS_PER_QUESTION])
        ]

    def _untaken(self, tasks: Sequence[int]) -> list[int]:
        """Halve until it is clear which of the tasks are left: most are not."""
        if self._ranks.are_announced([f"{self._phase}-{task}-taken" for task in tasks]):
            return []
        if len(tasks) == 1:
            return list(tasks)
        half = len(tasks) // 2
        return self._untaken(tasks[:half]) + self._untaken(tasks[half:])

    def settle(self, task: int, entry: ShardEntry) -> None:
        """Tell all ranks that a task's shard is whole, and what the manifest says of it."""
        self._ranks.announce(f"{self._phase}-{task}", entry.model_dump_json())
        self._ranks.add(f"{self._phase}-settled", 1)

    def num_settled(self) -> int:
        """Return how many tasks are settled."""
        return self._ranks.add(f"{self._phase}-settled", 0)

    def entry(self, task: int) -> ShardEntry:
        """Return what the manifest says of a settled task's shard."""
        return ShardEntry.model_validate_json(self._ranks.announced(f"{self._phase}-{task}"))
