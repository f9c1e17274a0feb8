"""Launches that stand still (a suspended machine) while others change the dataset, and wake up."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from fault_parts import finished
from sleep_parts import CHANGES, OTHERS, SLEEPERS, changes_of, images, quick, ready, stopped

from factory.errors import UserError
from factory.verify import verify_set

PAIRS = [(sleeper, other) for sleeper in SLEEPERS for other in OTHERS]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch.setattr)


def woken_up(folder: Path, out: str | Path, sleeper: str, event: int, other: str) -> int:
    """Let a launch sleep before a change to a file while another one changes the dataset.

    Returns:
        The sleeper's exit status.
    """
    where = (sleeper, event, other)
    ready(folder, out, sleeper)
    process = stopped(folder, out, sleeper, event)
    with suppress(UserError):
        # Some changes must wait until a dataset is complete.
        CHANGES[other](folder, out)
    before = images(out)
    os.kill(process.pid, signal.SIGCONT)
    status = finished(process)
    assert status in (0, 1), where
    assert {key: images(out).get(key) for key in before} == before, where
    if not verify_set(out).whole:
        # It was stopped before the end: the same command again ends it.
        assert status == 1, (where, verify_set(out).faults)
        CHANGES[sleeper](folder, out)
    assert verify_set(out).faults == (), where
    assert {key: images(out).get(key) for key in before} == before, where
    return status


@cache
def steps(folder: Path, sleeper: str) -> int:
    return changes_of(folder / f"count {sleeper}", folder / f"counted {sleeper}", sleeper)


def some_steps(folder: Path, pairs: list[tuple[str, str]], *, rounds: int) -> Counter[int]:
    """Wake up a launch at steps spread over its whole course."""
    found: Counter[int] = Counter()
    chance = random.Random(rounds)
    for number, (sleeper, other) in enumerate(pairs * rounds):
        run = folder / f"run-{number}"
        event = chance.randint(1, steps(folder, sleeper))
        found[woken_up(run / "recipes", run / "out", sleeper, event, other)] += 1
        shutil.rmtree(run)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("sleeper", SLEEPERS)
def test_a_launch_that_wakes_up_harms_nothing(tmp_path: Path, sleeper: str) -> None:
    pairs = [pair for pair in PAIRS if pair[0] == sleeper]
    some_steps(tmp_path, pairs[SLEEPERS.index(sleeper) % 2 :: 2] + pairs[:1], rounds=1)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_two_hundred_sleepers(tmp_path: Path) -> None:
    found = some_steps(tmp_path, PAIRS, rounds=6)
    assert found.total() == 216
    assert set(found) == {0, 1}, "some end what they began, some find another plan"
