"""What a simulation is asked, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """What is simulated; times in seconds.

    Attributes:
        ranks: Processes in all.
        launches: Groups they are split into: in one they share a counter, between them only claims.
        shards: To be made.
        shard_s: Time a shard takes a rank of normal speed, on average.
        spread: Of a shard's time: uniform from 1 - spread to 1 + spread of it.
        late: Share of the launches that join only after half an ideal run.
        stragglers: Share of the ranks that are slow.
        slowness: How many times longer they take.
        deaths: How many times ranks are killed, at random moments.
        restart_s: After which a killed rank is back, with its whole launch, as torchrun does it.
        pauses: How many times a rank stops for twice a claim's life, unaware of it.
        expiry_s: Of claims.
        seed: Of all that is random.
    """

    ranks: int = 1000
    launches: int = 10
    shards: int = 20_000
    shard_s: float = 300.0
    spread: float = 0.1
    late: float = 0.2
    stragglers: float = 0.02
    slowness: float = 4.0
    deaths: int = 30
    restart_s: float = 30.0
    pauses: int = 20
    expiry_s: float = 60.0
    seed: int = 0


@dataclass
class Outcome:
    """What came out.

    Attributes:
        committed: Shards that exist at the end.
        commits_refused: Shards drawn a second time and thrown away.
        deaths: Processes that were killed.
        work_lost_s: Drawing time that deaths and second drawings cost.
        finish_s: When the last shard was committed.
        ideal_s: When it could have been, had the same processes wasted no second: all work in equal
            parts on all ranks, weighted by speed and by when they were there.
        claim_calls: Calls of the claim store.
        left_over: Claim files of live processes that were not removed.
    """

    committed: int = 0
    commits_refused: int = 0
    deaths: int = 0
    work_lost_s: float = 0.0
    finish_s: float = 0.0
    ideal_s: float = 0.0
    claim_calls: int = 0
    left_over: int = 0

    @property
    def over_ideal(self) -> float:
        """By how much the finish lies behind the ideal, as a fraction of it."""
        return self.finish_s / self.ideal_s - 1
