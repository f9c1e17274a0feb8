"""Which shard a rank makes next.

Ranks of one launch take numbers from a counter that they share, so they rarely meet; what settles
who makes a shard is its claim, which other launches in the same directory respect too. When the
numbers are used up, a rank looks after what it had to leave to others: it waits for them, and takes
over what dead ones held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from factory.claims import Claim, Claims


class Board(Protocol):
    """What the ranks of one launch know together."""

    def take(self) -> int:
        """Return the next number of a counter that all ranks share, from 0."""

    def is_settled(self, task: int) -> bool:
        """Whether a rank of this launch has seen the task's shard whole."""

    def num_settled(self) -> int:
        """Return how many tasks are settled."""


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
        """
        self._names = names
        self._board = board
        self._claims = claims
        self._order = order
        self._fresh = fresh
        self._exists = exists
        self._left_to_others: list[int] = []

    def next(self) -> Turn | bool:
        """Return a turn; True where the rank must wait and ask again; False when all is done."""
        while (number := self._board.take()) < len(self._order):
            task = self._order[number]
            # Drawn by another launch meanwhile: drawing what is missing comes first.
            late = number < self._fresh and self._exists(task)
            turn = None if late else self._turn(task)
            if turn is not None:
                return turn
            self._left_to_others.append(task)
        return self._leftover()

    def _leftover(self) -> Turn | bool:
        """Go through what was left to others, then through all that nobody has settled yet."""
        if self._board.num_settled() >= len(self._order):
            return False
        sweeping = not self._left_to_others
        pending = iter(self._order if sweeping else self._left_to_others)
        waiting: list[int] = []
        for task in pending:
            if self._board.is_settled(task):
                continue
            turn = self._turn(task)
            if turn is not None:
                self._left_to_others = [*pending, *waiting]
                return turn
            waiting.append(task)
        self._left_to_others = waiting
        # The count may be short by what a rank settled as it died; a sweep that finds nothing is
        # the last word.
        return bool(waiting) or not sweeping

    def _turn(self, task: int) -> Turn | None:
        claim = self._claims.acquire(self._names[task])
        if claim is None:
            return None
        if self._board.is_settled(task):
            self._claims.release(claim)
            return None
        return Turn(task, claim)
