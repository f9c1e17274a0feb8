"""The simulated machine park: clock, storage, calendar, and what goes wrong."""

from __future__ import annotations

import heapq
import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from factory.builder.claims import Claim, Claims
from factory.builder.task_queue import Turn, Worklist
from simulation.scenario import Outcome, Scenario

_POLL_S = 5.0
_LOOK_S = 0.5


class MemoryStore:
    """Claims in a dictionary; see `factory.builder.claims.ClaimStore`."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.calls = 0

    def create(self, name: str, text: str) -> bool:
        """Create a claim; return False where it exists."""
        self.calls += 1
        return self.files.setdefault(name, text) is text

    def update(self, name: str, text: str) -> bool:
        """Rewrite a claim; return False where it is gone."""
        self.calls += 1
        if name not in self.files:
            return False
        self.files[name] = text
        return True

    def read(self, name: str) -> str | None:
        """Return a claim's text, or None."""
        self.calls += 1
        return self.files.get(name)

    def remove(self, name: str) -> None:
        """Remove a claim, if it is there."""
        self.calls += 1
        self.files.pop(name, None)

    def names(self) -> list[str]:
        """Return the names of all claims."""
        self.calls += 1
        return sorted(self.files)


@dataclass
class _Board:
    """What the ranks of one launch know together."""

    taken: int = 0
    settled: set[int] = field(default_factory=set)

    def take(self) -> int:
        self.taken += 1
        return self.taken - 1

    def is_settled(self, task: int) -> bool:
        return task in self.settled

    def num_settled(self) -> int:
        return len(self.settled)

    def unsettled(self, tasks: Sequence[int]) -> list[int]:
        return [task for task in tasks if task not in self.settled]


@dataclass
class _Launch:
    """A group of ranks that started together; a restart makes a new one of the same ranks."""

    name: str
    board: _Board
    order: list[int]
    fresh: int


@dataclass
class _Rank:
    """One process slot of the machine park."""

    number: int
    speed: float
    launch_number: int
    life: Generator[float, None, None] | None = None
    claims: Claims | None = None
    round: int = 0
    paused_until: float = 0.0


class Simulation:
    """The machine park, its calendar and its clock."""

    def __init__(self, scenario: Scenario) -> None:
        """Set everything up; nothing has happened yet."""
        self.scenario = scenario
        self.now = 0.0
        self.store = MemoryStore()
        self.shards: dict[int, int] = {}
        self.outcome = Outcome()
        self._random = random.Random(scenario.seed)
        self._names = [f"set.{number:05d}" for number in range(scenario.shards)]
        self._calendar: list[tuple[float, int, int, int]] = []
        self._entries = 0
        self._ranks = [self._rank(number) for number in range(scenario.ranks)]

    def run(self) -> Outcome:
        """Run until every rank has ended, and return what came out."""
        scenario, outcome = self.scenario, self.outcome
        outcome.ideal_s = self._ideal()
        for launch in range(scenario.launches):
            is_late = launch >= scenario.launches * (1 - scenario.late)
            self._start(launch, at=outcome.ideal_s / 2 if is_late else 0.0)
        self._plan_faults()
        while self._calendar:
            self.now, _, number, round_ = heapq.heappop(self._calendar)
            if number < 0:
                self._fault(-number - 1)
            elif self._ranks[number].round == round_:
                self._step(self._ranks[number])
        outcome.committed = len(self.shards)
        outcome.claim_calls = self.store.calls
        outcome.left_over = len(self.store.files)
        return outcome

    def _rank(self, number: int) -> _Rank:
        scenario = self.scenario
        slow = self._random.random() < scenario.stragglers
        speed = 1 / scenario.slowness if slow else 1.0
        return _Rank(number, speed, number * scenario.launches // scenario.ranks)

    def _start(self, launch: int, *, at: float) -> None:
        """Start all ranks of a launch as new processes; what they held stays behind."""
        missing = [task for task in range(self.scenario.shards) if task not in self.shards]
        there = [task for task in range(self.scenario.shards) if task in self.shards]
        rounds = {rank.round + 1 for rank in self._of(launch)}
        group = _Launch(f"{launch}-{max(rounds)}", _Board(), missing + there, len(missing))
        for rank in self._of(launch):
            rank.round += 1
            rank.life = self._life(rank, group)
            self._enter(at, rank)

    def _of(self, launch: int) -> list[_Rank]:
        return [rank for rank in self._ranks if rank.launch_number == launch]

    def _life(self, rank: _Rank, group: _Launch) -> Generator[float, None, None]:
        """Yield how long each thing takes that the process does."""
        scenario = self.scenario
        claims = Claims(
            self.store,
            launch=group.name,
            expiry_s=scenario.expiry_s,
            # Clocks of machines have nothing in common: each begins anywhere.
            clock=lambda: self.now + rank.number * 1e6,
            identity=f"{rank.number}-{rank.round}",
            is_dead=lambda identity: False,
        )
        rank.claims = claims
        work = Worklist(
            self._names,
            board=group.board,
            claims=claims,
            order=group.order,
            fresh=group.fresh,
            exists=self.shards.__contains__,
            start=rank.number,
        )
        while turn := work.next():
            if isinstance(turn, Turn):
                yield from self._make(rank, turn)
                group.board.settled.add(turn.task)
                claims.release(turn.claim)
            else:
                yield _POLL_S

    def _make(self, rank: _Rank, turn: Turn) -> Generator[float, None, None]:
        """Draw a shard with a beating heart, then commit it unless another was faster."""
        scenario = self.scenario
        if turn.task in self.shards:
            yield _LOOK_S
            return
        spread = self._random.uniform(1 - scenario.spread, 1 + scenario.spread)
        total = left = scenario.shard_s * spread / rank.speed
        while left > 0:
            step = min(left, scenario.expiry_s / 4)
            yield step
            left -= step
            self._beat(rank, turn.claim)
        if self.shards.setdefault(turn.task, rank.number) != rank.number:
            self.outcome.commits_refused += 1
            self.outcome.work_lost_s += total
        self.outcome.finish_s = max(self.outcome.finish_s, self.now)

    def _beat(self, rank: _Rank, claim: Claim) -> None:
        assert rank.claims is not None, "a rank that holds a claim has claims"
        rank.claims.beat()

    def _step(self, rank: _Rank) -> None:
        """Let a process go on until it next spends time."""
        if self.now < rank.paused_until:
            self._enter(rank.paused_until, rank)
            return
        assert rank.life is not None, "it was started"
        took = next(rank.life, None)
        if took is not None:
            self._enter(self.now + took, rank)

    def _enter(self, at: float, rank: _Rank) -> None:
        self._entries += 1
        heapq.heappush(self._calendar, (at, self._entries, rank.number, rank.round))

    def _plan_faults(self) -> None:
        scenario, ideal = self.scenario, self.outcome.ideal_s
        for fault in range(scenario.deaths + scenario.pauses):
            self._entries += 1
            at = self._random.uniform(0, ideal)
            heapq.heappush(self._calendar, (at, self._entries, -fault - 1, 0))

    def _fault(self, fault: int) -> None:
        scenario = self.scenario
        rank = self._random.choice([one for one in self._ranks if one.claims is not None])
        if fault >= scenario.deaths:
            rank.paused_until = self.now + 2 * scenario.expiry_s
            return
        group = self._of(rank.launch_number)
        self.outcome.deaths += len(group)
        self._start(rank.launch_number, at=self.now + scenario.restart_s)

    def _ideal(self) -> float:
        """Return when all work would be done if no second of any rank were wasted."""
        scenario = self.scenario
        work = scenario.shards * scenario.shard_s
        late = [
            rank.launch_number >= scenario.launches * (1 - scenario.late) for rank in self._ranks
        ]
        early = sum(r.speed for r, is_late in zip(self._ranks, late, strict=True) if not is_late)
        everyone = sum(rank.speed for rank in self._ranks)
        # Late ranks come at half the ideal time t: work = early * t / 2 + everyone * t / 2.
        return 2 * work / (early + everyone) if early else work / everyone
