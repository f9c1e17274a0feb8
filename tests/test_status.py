"""`status` of builds that are running, stopped and finished."""

from __future__ import annotations

import argparse
import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from build_parts import SETTINGS, FakeRenderer, combination, recipe

from factory.builder.build import build
from factory.builder.markers import Markers, list_markers
from factory.cli import status as command
from factory.common.errors import UserError
from factory.common.local_paths import WORKING
from factory.inspection.status import Status, status
from factory.planner.plan import ImageSpec


class Stopped(Exception):
    pass


def stopping_at(index: int) -> Any:
    class Stopping(FakeRenderer):
        def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> Any:
            if rows[0].index >= index:
                raise Stopped
            return super().render(rows, batch_size=batch_size)

    return Stopping


def generate(recipes: Any, out: Path, factory: Any = FakeRenderer) -> None:
    build(recipes, out, settings=SETTINGS, show_progress=False, renderer_factory=factory)


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """Return a build of 15 shards of 8 images that was stopped after 6 of them."""
    with pytest.raises(Stopped):
        generate(recipe(tmp_path, "a.base", images_per_class=40), tmp_path / "out", stopping_at(48))
    return tmp_path / "out"


def spread(out: Path, *, seconds: float) -> None:
    """Set the shards' modification times at equal intervals."""
    for number, path in enumerate(sorted((out / "data").rglob("*.parquet"))):
        os.utime(path, (1000 + number * seconds,) * 2)


def test_a_build_that_was_stopped(stopped: Path) -> None:
    found = status(stopped)
    (one,) = found.configs
    assert (one.shards, one.done, one.running, one.missing) == (15, 6, 0, 9)
    assert (one.images, one.images_done, one.failed, one.complete) == (120, 48, 0, False)
    assert found.workers == ()
    assert found.seconds_left is None, "no process is at work"
    assert found.notes == ("no build is running here; the same build command resumes it",)


def test_speed_and_time_left_are_those_of_the_latest_shards(stopped: Path) -> None:
    spread(stopped, seconds=4)
    for shard in (5, 6):
        Markers(stopped).add("a.base", shard, 0)
    found = status(stopped)
    assert found.images_per_s == 2.0
    assert found.seconds_left == (120 - 48) / 2
    (worker,) = found.workers
    assert (worker.config, worker.shard) == ("a.base", 6)
    process = f"{socket.gethostname()}, process {os.getpid()}"
    assert worker.process == process
    for marker in list_markers(stopped):
        # As an earlier version wrote them.
        marker.path.write_bytes(f"{process}\n".encode())
    assert status(stopped).workers == found.workers
    assert (found.configs[0].running, found.configs[0].missing) == (1, 8)
    assert found.notes[0].startswith("killed builds also count as running")


def test_too_few_shards_for_many_processes_give_no_speed(stopped: Path) -> None:
    spread(stopped, seconds=4)
    for shard in (6, 7, 8):
        Markers(stopped).add("a.base", shard, 0)
    found = status(stopped)
    assert (found.images_per_s, found.seconds_left) == (None, None)
    assert "once every process has finished a few" in found.notes[-1]


def test_a_shard_that_two_processes_have_marked_runs_once(stopped: Path) -> None:
    for shard, number in ((6, 0), (6, 1), (7, 0)):
        Markers(stopped).add("a.base", shard, number)
    folder = stopped / WORKING / "a.base"
    (folder / "00007.0").write_bytes(b"\xff" * 1000)
    os.mkfifo(folder / "00008.0")
    found = status(stopped)
    assert [worker.shard for worker in found.workers] == [6, 6, 7, 8]
    assert [len(worker.process) for worker in found.workers[2:]] == [500, 0]
    assert (found.configs[0].running, found.configs[0].missing) == (3, 6)


def test_status_during_a_build(tmp_path: Path) -> None:
    seen: list[Status] = []

    class Looking(FakeRenderer):
        def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> Any:
            seen.append(status(tmp_path / "out"))
            return super().render(rows, batch_size=batch_size)

    generate(recipe(tmp_path, "base", images_per_class=8), tmp_path / "out", Looking)
    figures = [(one.configs[0].done, one.configs[0].running) for one in seen]
    # While a shard is generated, the one before it may still be written.
    assert [done + running for done, running in figures] == [1, 1, 2, 2, 3, 3]
    assert {running for _, running in figures} <= {1, 2}
    assert all(f"process {os.getpid()}" in one.workers[0].process for one in seen)


def test_status_of_a_finished_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, word = recipe(tmp_path, "base"), recipe(tmp_path, "word", prompt="{class}")
    both = combination(tmp_path, "both", ["base", "word"])
    share = combination(tmp_path, "share", ["base", "word"], images_per_class=2)
    generate([base, word, both, share], tmp_path / "out")
    found = status(tmp_path / "out")
    assert found.complete
    assert [(one.name, one.shards, one.done) for one in found.configs] == [
        ("base", 2, 2),
        ("both", 0, 0),
        ("share", 1, 1),
        ("word", 2, 2),
    ]
    assert run(str(tmp_path / "out")) is None
    printed = capsys.readouterr().out.splitlines()
    assert printed[2].split() == [
        "base",
        "2",
        "2",
        "0",
        "0",
        "15",
        "of",
        "15",
        "0",
        "set,",
        "complete",
    ]
    assert printed[3].split()[:8] == ["both", "0", "0", "0", "0", "30", "of", "30"]
    assert printed[-1] == "finished, nothing left"


class AlwaysBlack(FakeRenderer):
    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> Any:
        results = super().render(rows, batch_size=batch_size)
        return [
            image * 0 if row.index == 3 else image for row, image in zip(rows, results, strict=True)
        ]


def test_failed_images_are_counted_while_the_build_runs(tmp_path: Path) -> None:
    class Stopping(AlwaysBlack, stopping_at(16)):  # type: ignore[misc]
        pass

    with pytest.raises(Stopped):
        generate(recipe(tmp_path, "base", images_per_class=10), tmp_path / "out", Stopping)
    (one,) = status(tmp_path / "out").configs
    assert (one.done, one.images_done, one.failed) == (2, 16, 1)


def run(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args(arguments))


def test_the_command_prints_json_too(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spread(stopped, seconds=4)
    run(str(stopped), "--json")
    figures = json.loads(capsys.readouterr().out)
    assert figures["images_per_s"] == 2.0
    assert figures["configs"][0]["missing"] == 9
    run(str(stopped))
    assert "2 images/s, time left not known" in capsys.readouterr().out


def test_a_directory_without_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a dataset"):
        status(tmp_path)
