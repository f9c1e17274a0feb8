"""Claims: one holder at a time, taken over from the dead alone, whatever clocks say."""

from __future__ import annotations

import json
import os
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from build_parts import recipe
from simulation.__main__ import main
from simulation.machines import MemoryStore, Simulation
from simulation.scenario import Scenario

from factory.builder import owner
from factory.builder.claim_files import FOLDER, ClaimFolder
from factory.builder.claims import Claims, heartbeat
from factory.planner.plan import plan


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def claims_of(store: Any, name: str, clock: Clock, **options: Any) -> Claims:
    """Return the claims of a process on a machine of its own."""
    known = {"launch": name, "identity": name, "is_dead": lambda _: False, "clock": clock}
    return Claims(store, **(known | options))


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryStore() if request.param == "memory" else ClaimFolder(tmp_path / "out")


def test_one_holds_a_claim_until_it_is_given_back(store: Any) -> None:
    clock = Clock()
    first, second = (claims_of(store, name, clock) for name in "ab")
    claim = first.acquire("set.00000")
    assert claim is not None
    assert second.acquire("set.00000") is None
    assert second.acquire("set.00001") is not None
    first.release(claim)
    assert second.acquire("set.00000") is not None
    second.release_all()
    assert store.names() == []


def test_a_claim_that_does_not_change_is_taken_over(store: Any) -> None:
    clock = Clock()
    first, second, third = (claims_of(store, name, clock) for name in "abc")
    assert first.acquire("s") is not None
    assert second.acquire("s") is None
    clock.now += 59
    assert second.acquire("s") is None
    # The third sees it for the first time: what others saw before is nothing to it.
    assert third.acquire("s") is None
    clock.now += 1
    taken = second.acquire("s")
    assert taken is not None
    assert taken.generation == 1
    assert third.acquire("s") is None
    clock.now += 59
    assert third.acquire("s") is None, "the new holder's claim is watched from now on"
    second.release(taken)
    assert store.names() == []


def test_a_beating_claim_is_never_taken_over(store: Any) -> None:
    clock = Clock()
    first, second = (claims_of(store, name, clock) for name in "ab")
    assert first.acquire("s") is not None
    for _ in range(50):
        assert second.acquire("s") is None
        assert second.is_in_doubt("s") == (clock.now == 1000.0)
        clock.now += 30
        first.beat()


def test_a_holder_that_wakes_up_leaves_the_new_holder_alone(store: Any) -> None:
    clock = Clock()
    first, second, third = (claims_of(store, name, clock) for name in "abc")
    slept = first.acquire("s")
    assert slept is not None
    second.acquire("s")
    clock.now += 60
    taken = second.acquire("s")
    assert taken is not None
    first.beat()
    first.release(slept)
    assert third.acquire("s") is None
    second.release(taken)
    assert store.names() == []


def test_clocks_of_machines_are_never_compared(store: Any) -> None:
    ahead, behind = Clock(), Clock()
    ahead.now, behind.now = 1e9, -1e9
    first, second = claims_of(store, "a", ahead), claims_of(store, "b", behind)
    assert first.acquire("s") is not None
    assert second.acquire("s") is None
    ahead.now -= 1e6
    first.beat()
    assert second.acquire("s") is None
    behind.now += 60
    assert second.acquire("s") is not None


def test_of_many_that_see_a_claim_expire_one_gets_it(tmp_path: Path) -> None:
    for attempt in range(5):
        clock, folder = Clock(), ClaimFolder(tmp_path / str(attempt))
        assert claims_of(folder, "dead", clock).acquire("s") is not None
        watchers = [claims_of(folder, str(number), clock) for number in range(16)]
        assert [one.acquire("s") for one in watchers] == [None] * 16
        clock.now += 60
        got: list[str] = []
        barrier = threading.Barrier(16)

        def race(one: Claims, barrier: Any = barrier, got: list[str] = got) -> None:
            barrier.wait()
            if one.acquire("s") is not None:
                got.append(one.launch)

        threads = [threading.Thread(target=race, args=(one,)) for one in watchers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1


def test_a_dead_process_of_this_machine_is_known_at_once(tmp_path: Path) -> None:
    if not owner._place():
        pytest.skip("this system does not tell its processes apart")
    store = ClaimFolder(tmp_path)
    dead = f"{owner._place()}|{os.getpid()}|1"
    assert Claims(store, launch="a", identity=dead).acquire("s") is not None
    assert owner.is_dead(dead)
    assert not owner.is_dead(owner.identity())
    assert not owner.is_dead("elsewhere|1|1")
    assert not owner.is_dead("")
    second = Claims(store, launch="b")
    assert second.others() == {"s.0": False}
    assert second.acquire("s") is not None
    second.release_all()
    assert store.names() == []


def test_half_written_and_foreign_files_are_watched_like_claims(tmp_path: Path) -> None:
    clock, store = Clock(), ClaimFolder(tmp_path)
    for name, text in {
        "a.0": "",
        "b.0": '{"launch": "x", "ow',
        "c.0": "[1]",
        "d.0": "[" * 100_000,
    }.items():
        assert store.create(name, text)
    claims = claims_of(store, "me", clock)
    assert claims.others() == dict.fromkeys(("a.0", "b.0", "c.0", "d.0"))
    clock.now += 60
    assert claims.others() == dict.fromkeys(("a.0", "b.0", "c.0", "d.0"), False)
    claims.remove_dead()
    assert store.names() == []


def test_a_heart_beats_while_work_is_done_and_stops_after(tmp_path: Path) -> None:
    store = ClaimFolder(tmp_path / "out")
    claims = Claims(store, launch="a", expiry_s=0.2)
    with heartbeat(claims):
        assert claims.acquire("s") is not None
        deadline = time.monotonic() + 30
        while json.loads(store.read("s.0") or "{}").get("beat", 0) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert store.names() == []
    store.clean()
    assert not (tmp_path / "out" / FOLDER).exists()
    assert not (tmp_path / "out").exists(), "it was made for nothing"


def test_simulated_ranks_make_each_shard_once() -> None:
    scenario = Scenario(ranks=40, launches=8, shards=600, deaths=8, pauses=8)
    outcome = Simulation(scenario).run()
    assert outcome.committed == 600
    assert outcome.left_over == 0
    assert outcome.deaths > 0
    assert 0 < outcome.over_ideal < 0.6
    calm = Scenario(ranks=40, launches=8, shards=600, deaths=0, pauses=0, stragglers=0.0)
    outcome = Simulation(calm).run()
    assert (outcome.committed, outcome.commits_refused) == (600, 0)
    assert 0 < outcome.over_ideal < 0.15


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_thousand_simulated_ranks(seed: int) -> None:
    outcome = Simulation(Scenario(seed=seed)).run()
    assert outcome.committed == 20_000
    assert outcome.left_over == 0
    assert outcome.over_ideal < 0.5


def test_the_simulation_tells_what_came_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["simulate", "--ranks", "10", "--shards", "50", "--launches", "2", "--deaths", "1"]
    monkeypatch.setattr("sys.argv", words)
    main()
    told = json.loads(capsys.readouterr().out)
    assert told["committed"] == 50
    assert told["over_ideal"] == pytest.approx(told["finish_s"] / told["ideal_s"] - 1)


def test_any_shard_of_a_hundred_million_images_is_planned_at_once(tmp_path: Path) -> None:
    variables = {"place": ["in a field", "by a lake"], "light": {"uniform": [0, 1]}}
    vast = recipe(
        tmp_path,
        "vast",
        classes=[f"class_{number}" for number in range(1000)],
        images_per_class=100_000,
        prompt="a {class} {place} at {light}",
        variables=variables,
    )
    planned = plan(vast)
    assert len(planned) == 100_000_000
    planned.rows(0, 512)
    peaks = []
    for start in (0, 50_000_000, 100_000_000 - 512):
        tracemalloc.start()
        began = time.process_time()
        rows = planned.rows(start, start + 512)
        took = time.process_time() - began
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert took < 1.0
        assert [row.index for row in rows] == list(range(start, start + 512))
    assert max(peaks) < 1.5 * min(peaks)
    assert max(peaks) < 10_000_000
