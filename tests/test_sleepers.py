"""Launches that are suspended while others change the dataset, and then continue."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from functools import cache, partial
from pathlib import Path

import pytest
from sleep_parts import OTHERS, SLEEPERS, quick
from suspend_parts import (
    changes_of,
    suspended_here,
    suspended_process,
    tidied_twice,
    woken_up,
)

PAIRS = [(sleeper, other) for sleeper in SLEEPERS for other in OTHERS]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch.setattr)


@cache
def steps(folder: Path, sleeper: str) -> int:
    return len(changes_of(folder / f"count {sleeper}", folder / f"counted {sleeper}", sleeper))


@pytest.mark.parametrize("sleeper", SLEEPERS)
def test_a_suspended_launch_resumes_without_harm(tmp_path: Path, sleeper: str) -> None:
    """Half of the others act, at steps spread over the length of the suspended launch."""
    others = OTHERS[len(sleeper) % 2 :: 2]
    for number, other in enumerate(others):
        event = 1 + steps(tmp_path, sleeper) * (2 * number + 1) // (2 * len(others))
        woken_up(tmp_path / other / "recipes", tmp_path / other / "out", sleeper, event, other)


def put_aside(folder: Path) -> list[int]:
    """Return the numbers of the changes of a `tidy` that put a file aside."""
    changes = changes_of(folder / "count", folder / "counted", "tidies")
    return [number for number, name in enumerate(changes, 1) if name.startswith("rename ")]


@pytest.mark.parametrize("other", ["grows more", "adds another column"])
def test_a_tidy_keeps_the_only_copy_that_another_one_has_put_aside(
    tmp_path: Path, other: str
) -> None:
    aside = put_aside(tmp_path)
    assert len(aside) > 2
    places = tmp_path / "recipes", tmp_path / "out"
    tidied_twice(*places, aside[-1], other, suspended=suspended_here)


@pytest.mark.slow
def test_a_tidy_keeps_the_only_copy_that_a_killed_one_has_put_aside(tmp_path: Path) -> None:
    event = put_aside(tmp_path)[0]
    killed = partial(suspended_process, killed=True)
    tidied_twice(tmp_path / "recipes", tmp_path / "out", event, "grows more", suspended=killed)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_two_hundred_suspended_processes_resume_without_harm(tmp_path: Path) -> None:
    """Processes that signals stop and resume, at random steps."""
    found: Counter[int] = Counter()
    chance = random.Random(6)
    for number, (sleeper, other) in enumerate(PAIRS * 6):
        run, event = tmp_path / f"run-{number}", chance.randint(1, steps(tmp_path, sleeper))
        places = run / "recipes", run / "out"
        found[woken_up(*places, sleeper, event, other, suspended=suspended_process)] += 1
        shutil.rmtree(run)
    assert found.total() == 216
    assert set(found) == {0, 1}, "some end what they began, some find another plan"
