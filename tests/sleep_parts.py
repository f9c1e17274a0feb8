"""Shared helpers for tests of suspended processes: launches that change one dataset."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from build_parts import SETTINGS, FakeRenderer, recipe, shard
from fault_parts import CONTEXT, finished, on_change, sending, sleeps, start

from factory.builder.build import build
from factory.builder.tidy import tidy
from factory.card import images as card_images
from factory.common.errors import Failure, UserError
from factory.common.storage import AnyPath, open_path, write_bytes
from factory.data.columns import arrow_schema
from factory.gates.duplicates import NearDuplicates
from factory.gates.run import run_gates
from factory.inspection.verify import verify_set
from factory.recipe.library import load_recipe
from factory.shards.manifest import read_manifest
from factory.shards.parquet import read_rows, write_shard
from factory.shards.stamp import inspect, read_stamp


def quick(change: Callable[[Any, str, Any], None] = setattr) -> None:
    """Leave slow plots out of cards; `change` sets attributes."""
    change(card_images, "plot_distributions", lambda recipes: b"plots")


class Signed(FakeRenderer):
    """Generates other images in each process, so that an image generated twice is detected."""

    def render(self, rows: Sequence[Any], *, batch_size: int) -> Any:
        images = super().render(rows, batch_size=batch_size)
        return [image ^ np.uint8(os.getpid() % 251) for image in images]


def generate(folder: Path, out: str | Path, *names: str) -> None:
    """Build recipes of a folder."""
    build(
        [load_recipe(folder / f"{name}.yaml") for name in names],
        out,
        settings=SETTINGS,
        show_progress=False,
        renderer_factory=Signed,
    )


def damage(out: AnyPath) -> None:
    """Cut a shard's file short."""
    path = shard(out)
    write_bytes(path, path.read_bytes()[:-9])


def leave_over(out: AnyPath) -> None:
    """Write a shard that no manifest lists, under a name that no build uses."""
    found = read_manifest(out)
    assert found is not None
    path = shard(out, index=1)
    stamp = read_stamp(path)
    assert stamp is not None
    other = path.with_name("train-00001-0123456789ab.parquet")
    schema = arrow_schema(found.labels, found.variables)
    write_shard(other, read_rows(path), schema=schema, stamp=stamp)


def leave_planned(folder: Path, out: Path) -> None:
    """Write the shards of stopped builds, under names that another build uses."""
    for number, change in enumerate((grow_more, CHANGES["adds another column"])):
        work = folder / f"stopped-{number}"
        shutil.copytree(folder, work, ignore=shutil.ignore_patterns("stopped-*"))
        shutil.copytree(out, work / "out")
        change(work, work / "out")
        for path in (work / "out/data/base").iterdir():
            if not (out / "data/base" / path.name).exists():
                shutil.copy(path, out / "data/base")


def finish(folder: Path, out: str | Path) -> None:
    generate(folder, out, "base")


def repair(folder: Path, out: str | Path) -> None:
    finish(folder, out)
    damage(open_path(out))
    finish(folder, out)


def gate(folder: Path, out: str | Path) -> None:
    run_gates(Path(out), [NearDuplicates()], show_progress=False)


def grow(folder: Path, out: str | Path) -> None:
    recipe(folder, "base", images_per_class=8)
    generate(folder, out, "base")


def grow_more(folder: Path, out: str | Path) -> None:
    recipe(folder, "base", images_per_class=10)
    generate(folder, out, "base")


CHANGES: dict[str, Callable[[Path, Any], Any]] = {
    "finishes": finish,
    "grows": grow,
    "grows more": grow_more,
    "adds a column": lambda folder, out: generate(folder, out, "word"),
    "adds another column": lambda folder, out: generate(folder, out, "tone"),
    "repairs": repair,
    "gates": gate,
    "tidies": lambda folder, out: tidy(open_path(out), delete=True),
}
SLEEPERS = {
    name: CHANGES[name] for name in ("finishes", "grows", "adds a column", "gates", "tidies")
} | {"repairs": finish}
OTHERS = ("grows more", "adds another column", "finishes", "repairs", "gates", "tidies")


def ready(folder: Path, out: str | Path, sleeper: str) -> None:
    """Write the recipes of both launches, and the dataset that a launch changes."""
    folder.mkdir(parents=True)
    recipe(folder, "base")
    recipe(folder, "word", prompt="a {d} {class}", variables={"d": ["x", "y"]})
    recipe(folder, "tone", prompt="a {t} {class}", variables={"t": ["x", "y"]})
    if sleeper != "finishes":
        generate(folder, out, "base")
    if sleeper == "tidies":
        leave_over(open_path(out))
        if "://" not in str(out):
            leave_planned(folder, Path(out))
    if sleeper == "repairs":
        damage(open_path(out))


def act(folder: Path, out: str | Path, what: str, *events: int) -> None:
    """Change a dataset as another machine would, and suspend before some changes to files."""
    quick()
    on_change(out, sending(events, signal.SIGSTOP), after=False)
    SLEEPERS[what](folder, out)


def count(folder: Path, out: str | Path, what: str, result: Any) -> None:
    """Change a dataset and report the changes to files."""
    changes: list[str] = []
    quick()
    on_change(out, changes.append, after=True)
    SLEEPERS[what](folder, out)
    result.put(changes)


def changes_of(folder: Path, out: str | Path, what: str) -> list[str]:
    """Return the changes to files by a launch: each call with its path."""
    ready(folder, out, what)
    result: Any = CONTEXT.Queue()
    process = start(count, folder, out, what, result)
    changes: list[str] = result.get(timeout=600)
    assert finished(process) == 0
    return changes


def stopped(folder: Path, out: str | Path, what: str, *events: int) -> Any:
    """Start a launch; return its process once it is suspended or has ended."""
    process = start(act, folder, out, what, *events)
    wait_until_it_sleeps(process)
    return process


def wait_until_it_sleeps(process: Any) -> None:
    """Wait until a process is suspended or has ended."""
    # Other work may leave a test a hundredth of a core.
    deadline = time.monotonic() + 600
    while not sleeps(process):
        assert time.monotonic() < deadline, "it neither sleeps nor ends"
        time.sleep(0.005)


def images(out: str | Path) -> dict[tuple[str, int], bytes]:
    """Return the encoded images listed by a dataset, by config and index; complete shards only."""
    place = open_path(out)
    found = read_manifest(place)
    entries = found.configs.items() if found is not None else ()
    return {
        (name, row["index"]): row["image"]["bytes"]
        for name, entry in entries
        for one in entry.shards
        if inspect(place / one.file).fault is None
        for row in read_rows(place / one.file)
    }


def woken_up(folder: Path, out: str | Path, sleeper: str, event: int, other: str) -> int:
    """Suspend a launch before a change to a file while another one changes the dataset.

    Returns:
        The suspended launch's exit status.
    """
    where = (sleeper, event, other)
    ready(folder, out, sleeper)
    process = stopped(folder, out, sleeper, event)
    with suppress(UserError, Failure):
        # Some changes must wait until a dataset is complete and undamaged.
        CHANGES[other](folder, out)
    before = images(out)
    resume(process)
    status = finished(process)
    assert status in (0, 1), where
    assert before.items() <= images(out).items(), where
    if not verify_set(out).whole:
        # It was stopped before the end: the same command again ends it.
        assert status == 1, (where, verify_set(out).faults)
        SLEEPERS[sleeper](folder, out)
    assert verify_set(out).faults == (), where
    assert before.items() <= images(out).items(), where
    return status


def resume(process: Any) -> None:
    """Resume a suspended process."""
    with suppress(ProcessLookupError):
        # It may have had fewer steps than others of its kind.
        os.kill(process.pid, signal.SIGCONT)


def tidied_twice(folder: Path, out: Path, event: int, other: str, *, killed: bool) -> None:
    """Suspend a `tidy` before and after it puts a file aside; another launch, then a `tidy` acts.

    Args:
        folder: New folder of the recipes.
        out: The dataset.
        event: Number of the change that puts a file aside.
        other: Change of the other launch, while the file has its name for the last time.
        killed: Whether the first `tidy` is killed afterwards, instead of resumed.
    """
    ready(folder, out, "tidies")
    process = stopped(folder, out, "tidies", event, event + 1)
    with suppress(UserError, Failure):
        CHANGES[other](folder, out)
    before = images(out)
    resume(process)
    wait_until_it_sleeps(process)
    with suppress(Failure):
        tidy(out, delete=True)
    if killed:
        os.kill(process.pid, signal.SIGKILL)
    resume(process)
    finished(process)
    assert images(out) == before, (event, other)
    assert verify_set(out).faults == (), (event, other)
