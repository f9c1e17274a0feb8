"""A shard is written while the next one is generated; no end of a build loses either."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from build_parts import FakeRenderer, recipe, tree
from test_twins import Several, twins

from factory.builder.build import BuildOptions, BuildReport, build
from factory.builder.markers import list_markers
from factory.builder.report import Part
from factory.common.local_paths import WORKING
from factory.common.stop_signals import Stopped
from factory.shards.settings import BuildSettings

# Three shards of 4, 4 and 2 batches.
SETTINGS = BuildSettings(batch_size=4, shard_size=16, dtype="float32")
IMAGES = 40
WAIT_S = 10.0


class Recording(FakeRenderer):
    """Records the first image of each batch; `before` is called first."""

    begun: list[int]
    before: Callable[[int], None]

    def render(self, rows: Sequence[Any], *, batch_size: int) -> Any:
        Recording.begun.append(rows[0].index)
        Recording.before(rows[0].index)
        return super().render(rows, batch_size=batch_size)


def generate(folder: Path, out: Path, factory: Any = FakeRenderer) -> BuildReport:
    one = recipe(folder, "base", classes=["cat"], images_per_class=IMAGES)
    return build(one, out, settings=SETTINGS, show_progress=False, renderer_factory=factory)


@pytest.fixture(autouse=True)
def _recording() -> Iterator[None]:
    Recording.begun, Recording.before = [], staticmethod(lambda index: None)
    yield
    assert not ends_running()


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the files of an undisturbed build."""
    folder = tmp_path_factory.mktemp("once")
    generate(folder, folder / "out")
    return tree(folder / "out")


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Return a function that has a call made while the first shard is written, once."""
    link = Path.hardlink_to

    def set_call(call: Callable[[], None]) -> None:
        calls = [call]

        def slow(path: Path, target: Path) -> None:
            if path.name.startswith("train-00000") and WORKING not in path.parts and calls:
                calls.pop()()
            link(path, target)

        monkeypatch.setattr(Path, "hardlink_to", slow)

    return set_call


def ends_running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "end of a shard"]


def wait_for(condition: Callable[[], Any]) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until, "it does not happen"
        time.sleep(0.01)


def resume(folder: Path, out: Path, once: dict[str, str]) -> int:
    """Resume a build; return its number of new images after comparing all bytes."""
    assert not list_markers(out)
    report = generate(folder, out)
    assert report.generated + report.kept == IMAGES
    assert tree(out) == once
    assert not (out / WORKING).exists()
    return report.generated


def test_one_shard_is_generated_while_another_is_written(
    tmp_path: Path, writing: Any, once: dict[str, str]
) -> None:
    meanwhile: list[int] = []

    def write() -> None:
        wait_for(lambda: 28 in Recording.begun)
        # The third shard waits: the rows of two are in memory.
        time.sleep(0.2)
        meanwhile.extend(Recording.begun)

    writing(write)
    report = generate(tmp_path, tmp_path / "out", Recording)
    assert meanwhile == [*range(0, 32, 4)]
    assert report.generated == IMAGES
    assert tree(tmp_path / "out") == once


def test_a_failed_write_stops_the_build_within_the_next_shard(
    tmp_path: Path, writing: Any, once: dict[str, str]
) -> None:
    def fail() -> None:
        wait_for(lambda: 20 in Recording.begun)
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    def before(index: int) -> None:
        if index == 20:
            wait_for(lambda: not ends_running())

    writing(fail)
    Recording.before = staticmethod(before)
    with pytest.raises(OSError, match="No space left"):
        generate(tmp_path, tmp_path / "out", Recording)
    assert Recording.begun[-1] == 20
    assert resume(tmp_path, tmp_path / "out", once) == IMAGES - 24


@pytest.mark.parametrize("last", [20, 28], ids=["generating", "waiting"])
def test_a_signal_loses_neither_shard(
    tmp_path: Path, writing: Any, once: dict[str, str], last: int
) -> None:
    """It arrives within the batch 20, or when the second shard waits for the first one."""

    def write() -> None:
        wait_for(lambda: last in Recording.begun)
        if last == 28:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGTERM)
        # The build waits for this.
        time.sleep(0.2)

    def before(index: int) -> None:
        if index == last == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    writing(write)
    Recording.before = staticmethod(before)
    with pytest.raises(Stopped):
        generate(tmp_path, tmp_path / "out", Recording)
    assert not ends_running()
    assert len([*tmp_path.glob("out/data/base/train-*")]) == 1
    assert resume(tmp_path, tmp_path / "out", once) == IMAGES - (20 if last == 20 else 32)


def test_a_shard_that_another_launch_has_written_meanwhile_is_kept(
    tmp_path: Path, writing: Any, once: dict[str, str]
) -> None:
    writing(lambda: generate(tmp_path, tmp_path / "out") and None)
    report = generate(tmp_path, tmp_path / "out", Recording)
    assert report.kept >= 16
    assert tree(tmp_path / "out") == once
    assert not (tmp_path / "out" / WORKING).exists()


def test_a_failed_write_of_a_twin_ends_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = twins(tmp_path, classes=["cat"], images_per_class=32)
    link = Path.hardlink_to

    def full(path: Path, target: Path) -> None:
        if "smooth" in path.parts and WORKING not in path.parts:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        link(path, target)

    monkeypatch.setattr(Path, "hardlink_to", full)
    options = BuildOptions(part=Part(1, 2))
    with pytest.raises(OSError, match="No space left on device"):
        build(
            recipes,
            tmp_path / "out",
            settings=SETTINGS,
            options=options,
            show_progress=False,
            renderer_factory=Several,
        )
