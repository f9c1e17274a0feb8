"""The order in which a process takes shards.

Ranks of one launch take numbers from a shared counter, so they never generate the same shard.
Independent launches see each other's markers. Each one (1) generates missing shards without a
marker, (2) checks the shards that others have finished meanwhile, and (3) generates shards that are
still missing although another launch has marked them, because that launch may have been killed. If
it is still running, the first one to create the file wins.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from factory.builder.board import LaunchBoard
from factory.builder.markers import Markers
from factory.shards.manifest import ShardEntry


class Worklist:
    """The tasks of one phase for one process; a task is a shard."""

    def __init__(
        self,
        shards: Sequence[tuple[str, int]],
        *,
        board: LaunchBoard,
        markers: Markers,
        order: Sequence[int],
        fresh: int,
        exists: Callable[[int], bool],
        make: Callable[[int], ShardEntry],
    ) -> None:
        """Store the tasks; nothing is generated yet.

        Args:
            shards: Config and number of each task's shard.
            board: Shared state of this launch.
            markers: Markers of the dataset.
            order: Task numbers in the order of this launch, the same on all ranks: missing shards
                first, then existing ones, which are only checked.
            fresh: Number of missing shards when the launch began.
            exists: Returns whether a task's shard exists now, whichever process generated it.
            make: Makes sure that a task's shard exists, and returns its manifest entry.
        """
        self._shards = shards
        self._board = board
        self._markers = markers
        self._order = order
        self._fresh = fresh
        self._exists = exists
        self._make = make

    def run(self) -> None:
        """Take tasks until each one has been taken by a rank of this launch."""
        count = len(self._order)
        while (number := self._board.take()) < 2 * count:
            if number < self._fresh:
                self._make_unmarked(self._order[number])
            elif number < count:
                self._look(self._order[number])
            elif self._exists(task := self._order[number - count]):
                self._look(task)
        while rest := self._board.untaken(self._order):
            self._make_marked(rest)

    def _make_unmarked(self, task: int) -> None:
        """Generate a shard unless it exists or another launch has marked it."""
        if not self._exists(task) and self._markers.add(*self._shards[task], 0):
            self._do(task, marker=0)

    def _look(self, task: int) -> None:
        if self._board.is_first(task):
            self._board.settle(task, self._make(task))

    def _make_marked(self, rest: Sequence[int]) -> None:
        """Check a shard that another launch has finished, or generate the least marked one."""
        # Random, so that ranks which look at the same time choose different shards.
        there = [task for task in rest if self._exists(task)]
        if there:
            self._look(random.choice(there))
            return
        markers = self._markers.next_numbers({self._shards[task][0] for task in rest})
        numbers = {task: markers.get(self._shards[task], 0) for task in rest}
        fewest = min(numbers.values())
        task = random.choice([task for task, number in numbers.items() if number == fewest])
        if self._markers.add(*self._shards[task], fewest):
            self._do(task, marker=fewest)

    def _do(self, task: int, *, marker: int) -> None:
        """Generate a shard that this process marked, unless a rank has taken it; remove markers."""
        stale = range(marker, marker + 1)
        try:
            if self._board.is_first(task):
                self._board.settle(task, self._make(task))
                # Also markers of killed processes; other processes at work on it find the shard.
                stale = range(marker + 1)
        finally:
            self._markers.remove(*self._shards[task], stale)
