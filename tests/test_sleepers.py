"""Builds that stand still (a suspended machine) while others change the dataset, and wake up."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from build_parts import recipe, shard, shard_hashes
from fault_parts import CONTEXT, build_and_sleep, count_changes, draw, finished, sleeps, start

from factory.gates.duplicates import NearDuplicates
from factory.gates.run import run_gates
from factory.verify import verify_set

OTHERS = ("grows", "adds a column", "repairs", "gates", "finishes")


def other_launch(what: str, base: Path, out: Path) -> list[Path]:
    """Change the dataset while another launch sleeps; return the recipes that are finished."""
    folder = base.parent
    if what == "grows":
        recipe(folder, "base", images_per_class=8)
    recipes = [base]
    if what == "adds a column":
        recipe(folder, "word", prompt="a {d} {class}", variables={"d": ["x", "y"]})
        recipes.append(folder / "word.yaml")
    draw(recipes, out, claim_expiry_s=0.2)
    if what == "repairs":
        damaged = shard(out)
        damaged.write_bytes(damaged.read_bytes()[:-9])
        draw(recipes, out, claim_expiry_s=0.2)
    if what == "gates":
        run_gates(out, [NearDuplicates()], show_progress=False)
    return recipes


def woken_up(tmp_path: Path, what: str, event: int) -> None:
    """Let a build sleep at some step while another launch changes the dataset."""
    folder = tmp_path / f"{what}-{event}".replace(" ", "-")
    folder.mkdir()
    recipe(folder, "base")
    base, out = folder / "base.yaml", folder / "out"
    sleeper = start(build_and_sleep, [base], out, event)
    deadline = time.monotonic() + 60
    while not sleeps(sleeper):
        assert time.monotonic() < deadline, "it neither sleeps nor ends"
        time.sleep(0.005)
    recipes = other_launch(what, base, out)
    before = shard_hashes(out)
    os.kill(sleeper.pid, signal.SIGCONT)
    # It has done the same work, or says that the dataset is another now.
    assert finished(sleeper) in (0, 1)
    assert shard_hashes(out) == before, (what, event)
    assert verify_set(out).faults == (), (what, event)
    assert draw(recipes, out, claim_expiry_s=0.2).drawn == 0


def count(tmp_path: Path) -> int:
    recipe(tmp_path, "base")
    result: Any = CONTEXT.Queue()
    process = start(count_changes, [tmp_path / "base.yaml"], tmp_path / "counted", result)
    changes: list[str] = result.get(timeout=120)
    assert finished(process) == 0
    return len(changes)


@pytest.mark.slow
@pytest.mark.parametrize("what", OTHERS)
def test_a_build_that_wakes_up_harms_nothing(tmp_path: Path, what: str) -> None:
    """At a claim, a write, the manifest and the end; each other launch at other moments."""
    changes, place = count(tmp_path), OTHERS.index(what)
    for part in range(4):
        woken_up(tmp_path, what, 1 + (part * len(OTHERS) + place) * (changes - 1) // 19)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_sleepers(tmp_path: Path) -> None:
    changes, chance = count(tmp_path), random.Random(0)
    for number in range(200):
        woken_up(tmp_path, OTHERS[number % len(OTHERS)], chance.randint(1, changes))
