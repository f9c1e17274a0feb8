"""Launches that are suspended while others change the dataset, and then continue."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from sleep_parts import OTHERS, SLEEPERS, changes_of, quick, tidied_twice, woken_up

PAIRS = [(sleeper, other) for sleeper in SLEEPERS for other in OTHERS]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch.setattr)


@cache
def steps(folder: Path, sleeper: str) -> int:
    return len(changes_of(folder / f"count {sleeper}", folder / f"counted {sleeper}", sleeper))


def some_steps(folder: Path, pairs: list[tuple[str, str]], *, rounds: int) -> Counter[int]:
    """Resume a launch at steps spread over its length."""
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
def test_a_resumed_launch_harms_nothing(tmp_path: Path, sleeper: str) -> None:
    pairs = [pair for pair in PAIRS if pair[0] == sleeper]
    some_steps(tmp_path, pairs[::2] if len(sleeper) % 2 else pairs[1::2], rounds=1)


@pytest.mark.slow
@pytest.mark.parametrize("other", ["grows more", "adds another column"])
def test_a_tidy_keeps_the_only_copy_that_another_one_has_put_aside(
    tmp_path: Path, other: str
) -> None:
    changes = changes_of(tmp_path / "count", tmp_path / "counted", "tidies")
    aside = [number for number, name in enumerate(changes, 1) if name.startswith("rename ")]
    assert len(aside) > 2
    # One launch with each end; files are put aside in one way.
    for number, event in enumerate((aside[0], aside[-1])):
        run = tmp_path / str(event)
        tidied_twice(run / "recipes", run / "out", event, other, killed=number == 0)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_two_hundred_suspended_launches(tmp_path: Path) -> None:
    found = some_steps(tmp_path, PAIRS, rounds=6)
    assert found.total() == 216
    assert set(found) == {0, 1}, "some end what they began, some find another plan"
