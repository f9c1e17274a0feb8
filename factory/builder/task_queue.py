"""The shards a process makes, in order.

Ranks of one launch take numbers from a counter that they share, so no two of them make the same
shard. Launches that know nothing of each other see each other's markers: each makes first the
missing shards without one, then looks at those that others have made meanwhile, and then generates
what is still missing, although others have marked it: they may be dead, and nothing waits for them.
Where they are alive, whoever creates the file first wins.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from factory.builder.board import LaunchBoard
from factory.builder.markers import Markers
from factory.shards.manifest import ShardEntry


class Worklist:
    """The tasks of one phase, as one process does them; a task is a shard."""

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
        """Do nothing yet.

        Args:
            shards: Config and number of each task's shard.
            board: Of this launch.
            markers: Of the dataset.
            order: The tasks of this launch, the same for all its ranks: those without a shard
                first. What comes last was there before, and only needs to be looked at.
            fresh: How many tasks had no shard when the launch began.
            exists: Whether a task has a shard now, whoever made it.
            make: Makes sure of a task's shard.
        """
        self._shards = shards
        self._board = board
        self._markers = markers
        self._order = order
        self._fresh = fresh
        self._exists = exists
        self._make = make

    def run(self) -> None:
        """Do tasks until each of them is done or in the hands of a rank of this launch."""
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
        """Make a shard unless another launch has made it or is about to."""
        if not self._exists(task) and self._markers.add(*self._shards[task], 0):
            self._do(task, marker=0)

    def _look(self, task: int) -> None:
        if self._board.is_first(task):
            self._board.settle(task, self._make(task))

    def _make_marked(self, rest: Sequence[int]) -> None:
        """Look at a shard that others have made, or else make the one with the fewest markers."""
        # Ranks that look at the same moment should not choose the same one.
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
        """Make a shard that is marked, unless another rank has taken it; remove the markers."""
        stale = range(marker, marker + 1)
        try:
            if self._board.is_first(task):
                self._board.settle(task, self._make(task))
                # With those of killed processes; whoever else is at it will find the shard.
                stale = range(marker + 1)
        finally:
            self._markers.remove(*self._shards[task], stale)
