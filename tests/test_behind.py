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
from build_parts import FakeRenderer, recipe, shard, shards_of, tree
from fsspec.implementations.memory import MemoryFileSystem
from test_twins import Several, twins
from test_urls import remote_tree

from factory.builder.build import BuildOptions, BuildReport, build
from factory.builder.jobs import Job
from factory.builder.markers import list_markers
from factory.builder.report import Part
from factory.builder.rows import ShardRows, refuse_nothing
from factory.common.errors import Failure
from factory.common.local_paths import WORKING
from factory.common.stop_signals import Stopped
from factory.common.storage import is_local, open_path
from factory.inspection.verify import verify_set
from factory.shards.manifest import read_manifest
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


def generate(
    folder: Path, out: str | Path, factory: Any = FakeRenderer, name: str = "base", **keys: Any
) -> BuildReport:
    one = recipe(folder, name, classes=["cat"], **{"images_per_class": IMAGES} | keys)
    return build(one, out, settings=SETTINGS, show_progress=False, renderer_factory=factory)


def generate_other(folder: Path, out: str | Path) -> BuildReport:
    """Build another config, with another column, which all configs get."""
    keys = {"prompt": "a {d} {class}", "variables": {"d": ["x", "y"]}, "images_per_class": 20}
    return generate(folder, out, name="word", **keys)


def files_of(out: str | Path) -> dict[str, str]:
    place = open_path(out)
    return tree(place) if is_local(place) else remote_tree(str(out))


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
    link, put = Path.hardlink_to, MemoryFileSystem.pipe_file

    def set_call(call: Callable[[], None]) -> None:
        calls = [call]

        def wait(path: str) -> None:
            if "/train-00000" in path and WORKING not in path and calls:
                calls.pop()()

        def slow_link(path: Path, target: Path) -> None:
            wait(str(path))
            link(path, target)

        def slow_put(store: MemoryFileSystem, path: str, *arguments: Any, **keys: Any) -> None:
            wait(path)
            put(store, path, *arguments, **keys)

        monkeypatch.setattr(Path, "hardlink_to", slow_link)
        monkeypatch.setattr(MemoryFileSystem, "pipe_file", slow_put)

    return set_call


@pytest.fixture(params=["local", "memory"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    """Return a new directory, and the URL of one."""
    return tmp_path / "out" if request.param == "local" else f"memory://behind{tmp_path}"


def ends_running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "end of a shard"]


def wait_for(condition: Callable[[], Any]) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until, "it does not happen"
        time.sleep(0.01)


def resume(folder: Path, out: str | Path, once: dict[str, str]) -> int:
    """Resume a build; return its number of new images after comparing all bytes."""
    assert not list_markers(open_path(out))
    report = generate(folder, out)
    assert report.generated + report.kept == IMAGES
    assert files_of(out) == once
    assert not (open_path(out) / WORKING).exists()
    return report.generated


def test_one_shard_is_generated_while_another_is_written(
    tmp_path: Path, out: str | Path, writing: Any, once: dict[str, str]
) -> None:
    meanwhile: list[int] = []

    def write() -> None:
        wait_for(lambda: 28 in Recording.begun)
        # The third shard waits: the rows of two are in memory.
        time.sleep(0.2)
        meanwhile.extend(Recording.begun)

    writing(write)
    report = generate(tmp_path, out, Recording)
    assert meanwhile == [*range(0, 32, 4)]
    assert report.generated == IMAGES
    assert files_of(out) == once


def end_within_20(index: int) -> None:
    """Let the first shard end while the sixth batch is generated, the second of its shard."""
    if index == 20:
        wait_for(lambda: not ends_running())


@pytest.mark.parametrize(
    ("out", "error", "kind", "message"),
    [
        ("local", OSError(errno.ENOSPC, "No space left on device", "out"), OSError, "No space"),
        ("memory", PermissionError("Access Denied"), PermissionError, "Denied.*base/train-00000"),
        # Stores have errors of their own.
        ("memory", TypeError("reset"), Failure, r"base/train-00000.* cannot be written \(reset\)"),
    ],
    indirect=["out"],
)
def test_a_failed_write_stops_the_build_within_the_next_shard(
    tmp_path: Path,
    out: str | Path,
    writing: Any,
    once: dict[str, str],
    error: Exception,
    kind: type[Exception],
    message: str,
) -> None:
    def fail() -> None:
        wait_for(lambda: 20 in Recording.begun)
        raise error

    writing(fail)
    Recording.before = staticmethod(end_within_20)
    with pytest.raises(kind, match=message):
        generate(tmp_path, out, Recording)
    assert Recording.begun[-1] == 20
    assert not [name for name in files_of(out) if name.startswith("data/")]
    assert resume(tmp_path, out, once) == IMAGES - 24


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
    tmp_path: Path, out: str | Path, writing: Any, once: dict[str, str]
) -> None:
    writing(lambda: generate(tmp_path, out) and None)
    report = generate(tmp_path, out, Recording)
    assert report.kept >= 16
    assert files_of(out) == once
    assert not (open_path(out) / WORKING).exists()


@pytest.mark.parametrize("is_writing", [False, True], ids=["before writing", "while writing"])
def test_a_shard_is_not_listed_if_another_launch_changes_the_plan(
    tmp_path: Path,
    out: str | Path,
    writing: Any,
    monkeypatch: pytest.MonkeyPatch,
    is_writing: bool,
) -> None:
    """The other launch adds a column, so this build's shard is not one of the dataset."""
    there: dict[str, str] = {}

    def change() -> None:
        wait_for(lambda: 20 in Recording.begun)
        generate_other(tmp_path, out)
        there.update(files_of(out))

    def change_first(job: Job, rows: ShardRows) -> None:
        if not there and job.name == "base":
            change()
        refuse_nothing(job, rows)

    if is_writing:
        writing(change)
    else:
        monkeypatch.setattr("factory.builder.shard_maker.refuse_nothing", change_first)
    Recording.before = staticmethod(end_within_20)
    with pytest.raises(Failure, match=r"another launch has changed this dataset.*\(variables\)"):
        generate(tmp_path, out, Recording)
    # The batch in progress is the last one.
    assert Recording.begun[-1] == 20
    now = files_of(out)
    own = [name for name in now if name.startswith("data/base/")]
    assert len(own) == is_writing
    unlisted = {name for name in now if name in own or WORKING in name}
    assert {name: now[name] for name in now if name not in unlisted} == {
        name: digest for name, digest in there.items() if WORKING not in name
    }
    manifest = read_manifest(open_path(out))
    assert manifest is not None and manifest.configs["base"].shards == ()

    report = generate(tmp_path, out)
    assert (report.kept, report.generated) == (24, IMAGES - 24)
    assert verify_set(open_path(out)).whole
    assert shard(open_path(out)).name not in str(own)
    generate_other(tmp_path, tmp_path / "once")
    generate(tmp_path, tmp_path / "once")
    listed = {name: digest for name, digest in files_of(out).items() if name not in own}
    assert shards_of(listed) == shards_of(tree(tmp_path / "once"))


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
