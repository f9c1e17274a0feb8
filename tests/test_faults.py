"""Builds that are killed, stopped or run at the same time give the bytes of one build."""

from __future__ import annotations

import errno
import os
import random
import re
import signal
import subprocess
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from build_parts import FakeRenderer, combination, recipe, shards_of, tree
from fault_parts import (
    build_and_die,
    build_once,
    finished,
    generate,
    run_command,
    start,
    strays,
    watching,
)
from overlap import SETTINGS, measured

from factory.builder.build import build
from factory.builder.markers import list_markers
from factory.builder.ranks import Ranks
from factory.common import stop_signals
from factory.common.local_paths import WORKING
from factory.common.stop_signals import Stopped, stopping_on_signals
from factory.recipe.library import load_recipe

KILLED = -signal.SIGKILL


@pytest.fixture
def recipes(tmp_path: Path) -> list[Path]:
    """Write two configs of 15 images in 2 shards, and a share of both."""
    recipe(tmp_path, "base")
    recipe(tmp_path, "word", prompt="{class}")
    combination(tmp_path, "share", ["base", "word"], images_per_class=3)
    return [tmp_path / f"{name}.yaml" for name in ("base", "word", "share")]


@pytest.fixture
def undisturbed(recipes: list[Path], tmp_path: Path) -> dict[str, str]:
    """Return the files of an undisturbed build."""
    generate(recipes, tmp_path / "undisturbed")
    return tree(tmp_path / "undisturbed")


def large(tmp_path: Path, *, shards: int) -> list[Path]:
    recipe(tmp_path, "large", images_per_class=8 * shards // 2, classes=["cat", "dog"])
    return [tmp_path / "large.yaml"]


def wait_for(condition: Any, *, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.005)


def changes_of(recipes: list[Path], out: Path) -> list[str]:
    """Return the changes to files by a build, in order: names of calls."""
    changes: list[str] = []
    with watching(out, changes.append):
        generate(recipes, out)
    return [change.split()[0] for change in changes]


def killed_at(
    points: list[tuple[int, bool]],
    recipes: list[Path],
    tmp_path: Path,
    undisturbed: dict[str, str],
) -> None:
    for event, after in points:
        out = tmp_path / f"killed-{event}-{after}"
        assert finished(start(build_and_die, recipes, out, event, after)) == KILLED
        generate(recipes, out)
        assert tree(out) == undisturbed, (event, after)
        assert not strays(out), (event, after)


@pytest.mark.slow
def test_a_build_killed_at_some_changes_to_files_resumes_to_the_same_bytes(
    recipes: list[Path], tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    """At markers, shards, manifest and card, and while markers are removed."""
    changes = changes_of(recipes, tmp_path / "counted")
    wanted = {
        "hardlink_to": [(1, False), (2, True)],
        "replace": [(-3, False), (-2, True), (-1, False), (-1, True)],
        "fsync": [(-3, True)],
        "unlink": [(1, True)],
        "rmdir": [(0, False)],
    }
    points: list[tuple[int, bool]] = []
    for call, places in wanted.items():
        numbers = [number for number, name in enumerate(changes, 1) if name == call]
        points += [(numbers[place], after) for place, after in places]
    killed_at(points, recipes, tmp_path, undisturbed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_build_killed_at_every_change_to_files_resumes_to_the_same_bytes(
    recipes: list[Path], tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    changes = changes_of(recipes, tmp_path / "counted")
    points = [(number, after) for number in range(1, len(changes) + 1) for after in (False, True)]
    killed_at(points, recipes, tmp_path, undisturbed)


@pytest.mark.slow
def test_a_build_killed_five_times_ends_with_the_same_bytes(tmp_path: Path) -> None:
    killed_many_times(tmp_path, kills=5)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_build_killed_forty_times_ends_with_the_same_bytes(tmp_path: Path) -> None:
    killed_many_times(tmp_path, kills=40)


def killed_many_times(tmp_path: Path, *, kills: int) -> None:
    """Kill a build `kills` times, at moments spread over its length, then let it finish."""
    recipes = large(tmp_path, shards=kills)
    generate(recipes, tmp_path / "undisturbed")
    moments, out = random.Random(kills), tmp_path / "out"
    for number in range(kills):
        process = start(build_once, recipes, out, 0.05)
        shards = min(number, kills - 2)
        wait_for(lambda shards=shards: len(list(out.glob("data/*/train-*"))) > shards)
        time.sleep(moments.uniform(0, 0.15))
        process.kill()
        assert finished(process) == KILLED
    generate(recipes, out)
    assert tree(out) == tree(tmp_path / "undisturbed")
    assert not strays(out)


def test_two_launches_share_the_work(tmp_path: Path) -> None:
    recipes = large(tmp_path, shards=12)
    generate(recipes, tmp_path / "alone")
    out = tmp_path / "shared"
    both = [start(build_once, recipes, out, 0.1) for _ in range(2)]
    assert [finished(process) for process in both] == [0, 0]
    assert tree(out) == tree(tmp_path / "alone")
    assert not strays(out)
    generated = [int(line) for line in Path(f"{out}.generated").read_text().split()]
    assert 12 * 8 <= sum(generated) <= 13 * 8, "at most the last shard was generated twice"
    assert min(generated) >= 8


@pytest.mark.slow
def test_four_launches_generate_few_images_twice(tmp_path: Path) -> None:
    found = measured(tmp_path, launches=4, shards=24, image_s=0.03)
    assert min(found.generated) >= 16
    assert 0 <= found.twice < 0.2, "at most a shard for each launch but one, and some for delays"
    alone = tmp_path / "alone"
    build(
        load_recipe(tmp_path / "base.yaml"),
        alone,
        settings=SETTINGS,
        show_progress=False,
        renderer_factory=FakeRenderer,
    )
    assert shards_of(tree(tmp_path / "out")) == shards_of(tree(alone))
    assert not strays(tmp_path / "out")


def test_a_launch_finishes_the_dataset_when_the_other_is_killed(tmp_path: Path) -> None:
    recipes = large(tmp_path, shards=10)
    generate(recipes, tmp_path / "alone")
    out = tmp_path / "shared"
    first, second = (start(build_once, recipes, out, 0.1) for _ in range(2))
    wait_for(lambda: len(list(out.glob("data/large/train-*"))) >= 3)
    first.kill()
    assert (finished(first), finished(second)) == (KILLED, 0)
    assert tree(out) == tree(tmp_path / "alone")
    assert not strays(out)


def test_the_shards_of_a_killed_launch_are_generated_by_the_next_one_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = large(tmp_path, shards=6)
    generate(recipes, tmp_path / "alone")
    out = tmp_path / "shared"
    lost = start(build_once, recipes, out, 0.2)
    wait_for(lambda: len(list(out.glob("data/large/train-*"))) >= 2 and list_markers(out))
    lost.kill()
    assert finished(lost) == KILLED
    monkeypatch.setattr(Ranks, "pause", lambda *_: pytest.fail("it waits"))
    generate(recipes, out)
    assert tree(out) == tree(tmp_path / "alone")
    assert not strays(out)


def test_a_launch_that_grows_the_dataset_ends_those_at_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes = large(tmp_path, shards=6)
    out, errors = tmp_path / "out", tmp_path / "errors"
    process = start(run_command, recipes, out, 0.3, errors)
    wait_for(lambda: list(out.glob("data/large/train-*")) and list_markers(out))
    recipe(tmp_path, "large", images_per_class=40, classes=["cat", "dog"])
    generate(recipes, out)
    assert (
        "another build that is running in this directory will stop at its next shard"
        in capsys.readouterr().err
    )
    assert finished(process) == 1
    assert "another launch has changed this dataset since this one began" in errors.read_text()
    generate(recipes, tmp_path / "once")
    assert tree(out) == tree(tmp_path / "once")
    assert not strays(out)


def test_launches_of_different_configs_share_a_directory(tmp_path: Path) -> None:
    recipe(tmp_path, "base")
    recipe(tmp_path, "word", prompt="{class}")
    base, word = tmp_path / "base.yaml", tmp_path / "word.yaml"
    out = tmp_path / "out"
    first = start(build_once, [base], out, 0.2)
    wait_for(lambda: (out / "manifest.json").exists())
    second = start(build_once, [word], out, 0.2)
    assert (finished(first), finished(second)) == (0, 0)
    generate([base, word], tmp_path / "once")
    assert tree(out) == tree(tmp_path / "once")
    assert not strays(out)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_a_signal_leaves_a_directory_that_can_be_built_on(
    tmp_path: Path, number: int, status: int
) -> None:
    recipes = large(tmp_path, shards=6)
    out, errors = tmp_path / "out", tmp_path / "errors"
    process = start(run_command, recipes, out, 0.1, errors)
    wait_for(lambda: len(list(out.glob("data/large/train-*"))) >= 2)
    os.kill(process.pid, number)
    # A terminal and a launcher send one each.
    os.kill(process.pid, signal.SIGTERM)
    assert finished(process) == status
    words = errors.read_text()
    assert f"stopped by {'Ctrl-C (SIGINT)' if number == signal.SIGINT else 'SIGTERM'}; run" in words
    assert re.search(r"\d+ of 48 images are finished and kept", words)
    assert "Traceback" not in words
    assert {Path(name).parts[0] for name in strays(out)} <= {WORKING}
    generate(recipes, out)
    generate(recipes, tmp_path / "once")
    assert tree(out) == tree(tmp_path / "once")


def test_a_build_does_not_depend_on_the_wall_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = large(tmp_path, shards=4)
    generate(recipes, tmp_path / "once")
    now = [2e9]

    def backwards() -> float:
        now[0] -= 1000
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    generate(recipes, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(tmp_path / "once")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a separate file system, if permitted."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_stops_a_build_that_resumes_when_there_is_space(
    tmp_path: Path, disk: Path
) -> None:
    recipes = large(tmp_path, shards=20)
    out, errors = disk / "out", tmp_path / "errors"
    assert finished(start(run_command, recipes, out, 0.0, errors)) == 1
    (line,) = errors.read_text().splitlines()[-1:]
    assert line.startswith(str(out))
    assert ": the disk is full; free some space, then run the same command again" in line
    assert "Traceback" not in errors.read_text()
    assert list(out.glob("data/large/train-*"))
    assert not strays(out)
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    generate(recipes, out)
    generate(recipes, tmp_path / "once")
    assert tree(out) == tree(tmp_path / "once")


def test_a_read_only_file_system_is_reported_in_one_line(tmp_path: Path, disk: Path) -> None:
    """Root ignores permissions, so the whole file system is read-only."""
    recipes = large(tmp_path, shards=1)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    errors = tmp_path / "errors"
    assert finished(start(run_command, recipes, disk / "out", 0.0, errors)) == 1
    (line,) = errors.read_text().splitlines()[-1:]
    assert "the file system is read-only; choose another directory" in line
    assert not list(disk.iterdir())


def test_an_exceeded_quota_stops_a_build_that_resumes_when_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = large(tmp_path, shards=3)
    synced = os.fsync

    def over_quota(descriptor: int) -> None:
        if list((tmp_path / "out").glob("data/large/train-00001*")):
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", over_quota)
    with pytest.raises(OSError, match=r"quota exceeded: '.*(data|\.working)/large"):
        generate(recipes, tmp_path / "out")
    monkeypatch.undo()
    assert not strays(tmp_path / "out")
    generate(recipes, tmp_path / "out")
    generate(recipes, tmp_path / "once")
    assert tree(tmp_path / "out") == tree(tmp_path / "once")


def test_a_second_stop_is_ignored_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped), stopping_on_signals(), stopping_on_signals():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


class _Finalised:
    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_stop_in_a_finaliser_ends_the_block_a_moment_later(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Stopped, match="SIGTERM"), stopping_on_signals():
        _Finalised()
        time.sleep(30)
    thing = {signal.SIGINT}
    with pytest.raises(Stopped, match="SIGINT"), stopping_on_signals():
        weakref.finalize(thing, os.kill, os.getpid(), signal.SIGINT)
        del thing
        time.sleep(30)
    with pytest.raises(Stopped, match="SIGTERM"), stopping_on_signals():
        _Finalised()  # nothing comes after it
    # Python would report what it swallowed.
    assert capsys.readouterr().err == ""


def test_a_signal_ends_a_cleanup_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_signals, "_SAME_S", 0.1)
    with pytest.raises(Stopped, match="SIGTERM"), stopping_on_signals():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)


def test_a_signal_after_a_stop_that_was_swallowed_stops() -> None:
    with pytest.raises(Stopped, match="SIGTERM"), stopping_on_signals():
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("is_named", [False, True])
def test_a_stop_that_a_library_replaces_by_its_own_error_is_a_stop(is_named: bool) -> None:
    """Also inside another block: that of a command around the one of `build`."""
    with stopping_on_signals(), pytest.raises(Stopped), stopping_on_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Stopped as stop:
            if is_named:
                raise ValueError("Error calling __set_name__") from stop
        raise ValueError("Error building a validator: Stopped: ...")


def test_an_error_of_the_cleanup_after_a_stop_is_shown() -> None:
    with pytest.raises(OSError, match="disk"), stopping_on_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise OSError("disk")


def test_a_stopped_command_ignores_further_signals() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(Stopped), stopping_on_signals(for_good=True):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
