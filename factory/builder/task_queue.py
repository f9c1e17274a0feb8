"""Which shard a rank makes next.

Ranks of one launch take numbers from a counter that they share, so they rarely meet; what settles
who makes a shard is its claim, which other launches in the same directory respect too. When the
numbers are used up, a rank looks after what it had to leave to others: it waits for them, and takes
over what dead ones held.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from factory.builder.claims import Claim, Claims

_LOOKS = 16


class Board(Protocol):
    """What the ranks of one launch know together."""

    def take(self) -> int:
        """Return the next number of a counter that all ranks share, from 0."""

    def is_settled(self, task: int) -> bool:
        """Whether a rank of this launch has seen the task's shard whole."""

    def num_settled(self) -> int:
        """Return how many tasks are settled."""

    def unsettled(self, tasks: Sequence[int]) -> list[int]:
        """Return those of `tasks` that are not settled, in any order."""


@dataclass(frozen=True)
class Turn:
    """A task that this rank is to do while it holds the claim."""

    task: int
    claim: Claim


class Worklist:
    """The tasks of one rank, in turns."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        board: Board,
        claims: Claims,
        order: Sequence[int],
        fresh: int,
        exists: Callable[[int], bool],
        start: int = 0,
    ) -> None:
        """Begin with the first number of the counter.

        Args:
            names: Of the tasks' claims, by task.
            board: Of this launch.
            claims: Of this process.
            order: The tasks of this launch: those without a shard first. What stands last was
                there before, and only needs to be looked at.
            fresh: How many tasks had no shard when the launch began.
            exists: Whether a task has a shard now, whoever made it.
            start: Differs from rank to rank: where each begins to look after others.
        """
        self._names = names
        self._board = board
        self._claims = claims
        self._order = order
        self._fresh = fresh
        self._exists = exists
        self._random = random.Random(start)
        self._rest: deque[int] = deque()

    def next(self) -> Turn | bool:
        """Return a turn; True where the rank must wait and ask again; False when all is done."""
        while (number := self._board.take()) < len(self._order):
            task = self._order[number]
            # Drawn by another launch meanwhile: drawing what is missing comes first.
            late = number < self._fresh and self._exists(task)
            turn = None if late else self._turn(task)
            if turn is not None:
                return turn
            self._rest.append(task)
        return self._leftover()

    def _leftover(self) -> Turn | bool:
        """Go through what was left to others, then through all that nobody has settled yet.

        Only a few tasks are looked at in a call: a thousand ranks that wait for the last shards
        would otherwise ask for every claim of every other.
        """
        if self._board.num_settled() >= len(self._order):
            return False
        if not self._rest:
            unsettled = self._board.unsettled(self._order)
            if not unsettled:
                # The count is short by what a rank settled as it died.
                return False
            # Each rank begins elsewhere, so that together they look at all.
            self._random.shuffle(unsettled)
            self._rest.extend(unsettled)
        doubtful: list[int] = []
        for _ in range(min(_LOOKS, len(self._rest))):
            task = self._rest.popleft()
            if self._board.is_settled(task):
                continue
            turn = self._turn(task)
            if turn is not None:
                self._rest.extendleft(doubtful)
                return turn
            if self._claims.is_in_doubt(self._names[task]):
                doubtful.append(task)
            else:
                self._rest.append(task)
        # Watched until it is clear that their holders live, or that they do not.
        self._rest.extendleft(doubtful)
        return True

    def _turn(self, task: int) -> Turn | None:
        claim = self._claims.acquire(self._names[task])
        if claim is None:
            return None
        if self._board.is_settled(task):
            self._claims.release(claim)
            return None
        return Turn(task, claim)
