"""The order in which a process takes shards.

Ranks of one launch take numbers from a shared counter, so they never generate the same shard.
Independent launches see each other's markers. Each one (1) generates missing shards without a
marker, (2) checks the shards that others have finished meanwhile, and (3) generates shards that are
still missing although another launch has marked them, because that launch may have been killed. If
it is still running, the first one to create the file wins.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from factory.builder.behind import Ending
from factory.builder.markers import Markers
from factory.builder.ranks import Ranks
from factory.shards.manifest import ShardEntry

_TASKS_PER_QUESTION = 1024


@dataclass(frozen=True)
class LaunchBoard:
    """The tasks of one phase, stored in the store of the process group; a task is a shard.

    Attributes:
        ranks: The ranks of this launch.
        phase: Prefix of the keys in the store, so that phases do not mix.
    """

    ranks: Ranks
    phase: str

    def take(self) -> int:
        """Return the next number of a counter that all ranks share, from 0."""
        return self.ranks.take(f"{self.phase}-next")

    def is_first(self, task: int) -> bool:
        """Take a task; return False if another rank of this launch has taken it before."""
        return self.ranks.take(f"{self.phase}-{task}-taken") == 0

    def untaken(self, tasks: Sequence[int]) -> list[int]:
        """Return the tasks that no rank of this launch has taken."""
        return [
            task
            for start in range(0, len(tasks), _TASKS_PER_QUESTION)
            for task in self._untaken(tasks[start : start + _TASKS_PER_QUESTION])
        ]

    def _untaken(self, tasks: Sequence[int]) -> list[int]:
        """Search by halves: most tasks are taken, and one query covers many of them."""
        if self.ranks.are_announced([f"{self.phase}-{task}-taken" for task in tasks]):
            return []
        if len(tasks) == 1:
            return list(tasks)
        half = len(tasks) // 2
        return self._untaken(tasks[:half]) + self._untaken(tasks[half:])

    def settle(self, task: int, entry: ShardEntry) -> None:
        """Report to all ranks that a task's shard is finished, with its manifest entry."""
        self.ranks.announce(f"{self.phase}-{task}", entry.model_dump_json())
        self.ranks.add(f"{self.phase}-settled", 1)

    def num_settled(self) -> int:
        """Return the number of finished tasks."""
        return self.ranks.add(f"{self.phase}-settled", 0)

    def entry(self, task: int) -> ShardEntry:
        """Return the manifest entry of a finished task's shard."""
        return ShardEntry.model_validate_json(self.ranks.announced(f"{self.phase}-{task}"))


@dataclass(frozen=True)
class Worklist:
    """The tasks of one phase for one process; a task is a shard.

    Attributes:
        shards: Config and number of each task's shard.
        board: Shared state of this launch.
        markers: Markers of the dataset.
        order: Task numbers in the order of this launch, the same on all ranks: missing shards
            first, then existing ones, which are only checked.
        fresh: Number of missing shards when the launch began.
        exists: Returns whether a task's shard exists now, whichever process generated it.
        make: Generates a task's shard if it does not exist, and returns its end.
        close: Returns when no end runs or can begin.
    """

    shards: Sequence[tuple[str, int]]
    board: LaunchBoard
    markers: Markers
    order: Sequence[int]
    fresh: int
    exists: Callable[[int], bool]
    make: Callable[[int], Ending]
    close: Callable[[], None]
    _begun: list[tuple[int, Ending, range]] = field(default_factory=list)

    def run(self) -> None:
        """Take tasks until each one has been taken by a rank of this launch; end all of its own."""
        try:
            self._take_all()
            self._settle()
        finally:
            # A signal or an error of another shard loses nothing of the pending one.
            self.close()
            for task, _, stale in self._begun:
                self.markers.remove(*self.shards[task], stale[-1:])

    def _take_all(self) -> None:
        count = len(self.order)
        while (number := self.board.take()) < 2 * count:
            if number < self.fresh:
                self._make_unmarked(self.order[number])
            elif number < count:
                self._look(self.order[number])
            elif self.exists(task := self.order[number - count]):
                self._look(task)
        while rest := self.board.untaken(self.order):
            self._make_marked(rest)

    def _make_unmarked(self, task: int) -> None:
        """Generate a shard unless it exists or another launch has marked it."""
        if not self.exists(task) and self.markers.add(*self.shards[task], 0):
            self._do(task, marker=0)

    def _look(self, task: int) -> None:
        if self.board.is_first(task):
            self._begin(task)

    def _make_marked(self, rest: Sequence[int]) -> None:
        """Check a shard that another launch has finished, or generate the least marked one."""
        # Random, so that ranks which look at the same time choose different shards.
        there = [task for task in rest if self.exists(task)]
        if there:
            self._look(random.choice(there))
            return
        markers = self.markers.next_numbers({self.shards[task][0] for task in rest})
        numbers = {task: markers.get(self.shards[task], 0) for task in rest}
        fewest = min(numbers.values())
        task = random.choice([task for task, number in numbers.items() if number == fewest])
        if self.markers.add(*self.shards[task], fewest):
            self._do(task, marker=fewest)

    def _do(self, task: int, *, marker: int) -> None:
        """Generate a shard that this process marked, unless a rank has taken it; remove markers."""
        with ExitStack() as stack:
            stack.callback(self.markers.remove, *self.shards[task], range(marker, marker + 1))
            if self.board.is_first(task):
                # Also markers of killed processes; other processes at work on it find the shard.
                self._begin(task, range(marker + 1))
                # They are removed when the shard exists.
                stack.pop_all()

    def _begin(self, task: int, stale: range = range(0)) -> None:
        """Generate a shard; while it ends, the caller takes the next task."""
        ending = self.make(task)
        self._settle()
        self._begun.append((task, ending, stale))

    def _settle(self) -> None:
        """Report the shard before, which has ended by now, and remove its markers."""
        for task, ending, stale in self._begun:
            # If another launch was faster, its file is examined like any other.
            while (entry := ending.result()) is None:
                ending = self.make(task)
            self.board.settle(task, entry)
            self.markers.remove(*self.shards[task], stale)
        self._begun.clear()
