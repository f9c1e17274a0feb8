"""Suspend a launch at any of its changes to files while others change the dataset."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fault_parts import finished, on_change, sending, sleeps, start, watching
from sleep_parts import CHANGES, SLEEPERS, images, quick, ready

from factory.builder.tidy import tidy
from factory.common.errors import Failure, UserError
from factory.inspection.verify import verify_set


def changes_of(folder: Path, out: str | Path, what: str) -> list[str]:
    """Return the changes to files by a launch: each call with its path."""
    changes: list[str] = []
    ready(folder, out, what)
    with watching(out, changes.append):
        SLEEPERS[what](folder, out)
    return changes


class _SameThread:
    """Runs what a thread would run, when it is started."""

    ident = None

    def __init__(self, *, target: Callable[..., None], args: tuple[Any, ...], name: str) -> None:
        self.start = partial(target, *args)


def suspended_here(
    folder: Path, out: str | Path, what: str, meanwhile: Mapping[int, Callable[[], Any]]
) -> int:
    """Run a launch in this process; others act to their ends before some of its changes to files.

    Shards are ended in the thread that generates: with two threads the changes would have no fixed
    order, and the other thread would go on while one sleeps.

    Args:
        folder: Folder of the recipes.
        out: The dataset.
        what: Key of `SLEEPERS`.
        meanwhile: What others do, by the number of the change that waits for it, from 1.

    Returns:
        Exit status that the launch would have as a command.
    """
    number, waits, todo = 0, False, dict(meanwhile)

    def change(name: str) -> None:
        nonlocal number, waits
        if waits:
            return
        number += 1
        if number in todo:
            waits = True
            todo.pop(number)()
            waits = False

    status = 0
    with watching(out, change), patch("factory.builder.behind.Thread", _SameThread):
        try:
            (CHANGES | SLEEPERS)[what](folder, out)
        except (UserError, Failure):
            status = 1
    assert not todo, f"{what} has {number} changes"
    return status


def suspended_in_turn(
    folder: Path, out: str | Path, launches: Sequence[tuple[str, int]]
) -> tuple[list[int], dict[tuple[str, int], bytes]]:
    """Run launches in this process, each one suspended until all later ones have ended.

    When one ends, every image that the later ones have finished must be there, byte for byte.

    Args:
        folder: Folder of the recipes.
        out: The dataset.
        launches: Keys of `SLEEPERS` or `CHANGES`, each with the number of the change to a file that
            waits for the later ones; the last launch does not wait.

    Returns:
        Their exit statuses, outermost first, and the finished images, see `images`.
    """
    (what, event), *later = launches
    statuses, before = list[int](), dict[tuple[str, int], bytes]()

    def others() -> None:
        found, finished_images = suspended_in_turn(folder, out, later)
        statuses.extend(found)
        before.update(finished_images)

    status = suspended_here(folder, out, what, {event: others} if later else {})
    after = images(out)
    assert before.items() <= after.items(), launches
    return [status, *statuses], after


def suspended_process(
    folder: Path,
    out: str | Path,
    what: str,
    meanwhile: Mapping[int, Callable[[], Any]],
    *,
    killed: bool = False,
) -> int:
    """Do the same with a launch in a process of its own, which signals stop and resume.

    Args:
        folder: Folder of the recipes.
        out: The dataset.
        what: Key of `SLEEPERS`.
        meanwhile: What others do, by the number of the change that waits for it, from 1.
        killed: Whether the process is killed in the end, instead of resumed.

    Returns:
        Its exit status.
    """
    process = start(_act, folder, out, what, list(meanwhile))
    for number, act in enumerate(meanwhile.values(), 1):
        wait_until_it_sleeps(process)
        act()
        if killed and number == len(meanwhile):
            os.kill(process.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            # It may have had fewer steps than others of its kind.
            os.kill(process.pid, signal.SIGCONT)
    return finished(process)


def _act(folder: Path, out: str | Path, what: str, events: Collection[int]) -> None:
    """Change a dataset as another machine would, and suspend before some changes to files."""
    quick()
    on_change(out, sending(events, signal.SIGSTOP), after=False)
    SLEEPERS[what](folder, out)


def wait_until_it_sleeps(process: Any) -> None:
    """Wait until a process is suspended or has ended."""
    # Other work may leave a test a hundredth of a core.
    deadline = time.monotonic() + 600
    while not sleeps(process):
        assert time.monotonic() < deadline, "it neither sleeps nor ends"
        time.sleep(0.005)


def woken_up(
    folder: Path,
    out: str | Path,
    sleeper: str,
    event: int,
    other: str,
    *,
    suspended: Callable[..., int] = suspended_here,
) -> int:
    """Suspend a launch before a change to a file while another one changes the dataset.

    Args:
        folder: New folder of the recipes.
        out: The dataset.
        sleeper: Key of `SLEEPERS`: the launch that is suspended.
        event: Number of the change.
        other: Key of `CHANGES`: the other launch.
        suspended: Suspends it: `suspended_here`, or `suspended_process`.

    Returns:
        The suspended launch's exit status.
    """
    where, before = (sleeper, event, other), dict[tuple[str, int], bytes]()

    def act() -> None:
        with suppress(UserError, Failure):
            # Some changes must wait until a dataset is complete and undamaged.
            CHANGES[other](folder, out)
        before.update(images(out))

    ready(folder, out, sleeper)
    status = suspended(folder, out, sleeper, {event: act})
    assert status in (0, 1), where
    assert before.items() <= images(out).items(), where
    if not verify_set(out).whole:
        # It was stopped before the end: the same command again ends it.
        assert status == 1, (where, verify_set(out).faults)
        SLEEPERS[sleeper](folder, out)
        assert before.items() <= images(out).items(), where
    assert verify_set(out).faults == (), where
    return status


def tidied_twice(
    folder: Path, out: Path, event: int, other: str, *, suspended: Callable[..., int]
) -> None:
    """Suspend a `tidy` before and after it puts a file aside; another launch, then a `tidy` acts.

    Args:
        folder: New folder of the recipes.
        out: The dataset.
        event: Number of the change that puts a file aside.
        other: Change of the other launch, while the file has its name for the last time.
        suspended: Suspends the first `tidy`; see `woken_up`.
    """
    before = dict[tuple[str, int], bytes]()

    def act() -> None:
        with suppress(UserError, Failure):
            CHANGES[other](folder, out)
        before.update(images(out))

    def tidy_again() -> None:
        with suppress(Failure):
            tidy(out, delete=True)

    ready(folder, out, "tidies")
    suspended(folder, out, "tidies", {event: act, event + 1: tidy_again})
    assert images(out) == before, (event, other)
    assert verify_set(out).faults == (), (event, other)
