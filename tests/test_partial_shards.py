"""Finished images of unfinished shards are kept, whatever ends a build."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from build_parts import FakeRenderer, recipe, tree
from fault_parts import finished, start
from test_twins import Several, twins

from factory.builder import partial_shards
from factory.builder.build import BuildReport, build
from factory.builder.partial_shards import PartialShards
from factory.builder.tidy import tidy
from factory.common.errors import Failure
from factory.common.local_paths import WORKING
from factory.common.stop_signals import Stopped
from factory.inspection.status import status
from factory.inspection.verify import verify_set
from factory.recipe.library import load_recipe
from factory.renderer.pool import Renderers
from factory.shards.parquet import read_rows
from factory.shards.settings import BuildSettings
from factory.shards.stamp import read_stamp

# One shard of 14 batches; the last one has 3 images.
SETTINGS = BuildSettings(batch_size=4, shard_size=100, dtype="float32")
IMAGES = 55
Resume = Callable[[Path], int]


def large(folder: Path, name: str = "base", **keys: Any) -> Any:
    return recipe(folder, name, **{"classes": ["cat"], "images_per_class": IMAGES} | keys)


def generate(recipes: Any, out: Path, factory: Any = FakeRenderer) -> BuildReport:
    return build(recipes, out, settings=SETTINGS, show_progress=False, renderer_factory=factory)


def ending_at(index: int, end: Any, renderer: Any = FakeRenderer, call: str = "render") -> Any:
    """Return a renderer that calls `end` before the batch with an image."""

    def ending(self: Any, *args: Any, batch_size: int) -> Any:
        if index in [row.index for row in args[-1]]:
            end()
        return getattr(super(Ending, self), call)(*args, batch_size=batch_size)

    Ending = type("Ending", (renderer,), {call: ending})
    return Ending


def interrupt() -> None:
    raise Stopped(signal.SIGINT)


def kept_files(out: Path) -> list[Path]:
    return sorted(out.glob(f"{WORKING}/*/train-*"))


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """Return a build that was stopped after 20 of 55 images."""
    with pytest.raises(Stopped):
        generate(large(tmp_path), tmp_path / "out", ending_at(20, interrupt))
    return tmp_path / "out"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the files of an undisturbed build."""
    folder = tmp_path_factory.mktemp("once")
    generate(large(folder), folder / "out")
    return tree(folder / "out")


@pytest.fixture
def resumed(tmp_path: Path, once: dict[str, str]) -> Resume:
    """Resume a build; return its number of new images after comparing all bytes."""

    def resume(out: Path) -> int:
        report = generate(large(tmp_path), out)
        assert report.generated + report.kept == IMAGES
        assert tree(out) == once
        assert not (out / WORKING).exists()
        return report.generated

    return resume


def run_command(path: Path, out: Path, errors: Path, end: int, seconds: float) -> None:
    """Run `build` as the command line does; a signal arrives before the eleventh batch."""
    from factory.cli.main import main
    from factory.common.entry import run_main

    partial_shards.SECONDS = seconds
    renderer = ending_at(40, lambda: os.kill(os.getpid(), end))
    Renderers._make = lambda self, recipe, dtype: renderer(recipe)  # type: ignore[method-assign]
    sys.stderr = errors.open("w")
    words = ["--quiet", "--threads", "1", "--batch-size", "4", "--shard-size", "100"]
    words += ["--dtype", "float32", "--processes", "1"]
    run_main(lambda: main(["build", str(path), str(out), *words]))


@pytest.mark.parametrize(
    ("end", "seconds", "kept"),
    # A killed process loses the batches since the last file, and the one that is being encoded.
    [
        (signal.SIGINT, 60.0, 40),
        (signal.SIGKILL, 0.0, 36),
        pytest.param(signal.SIGKILL, 60.0, 0, marks=pytest.mark.soak),
    ],
)
def test_a_process_that_ends_within_a_shard(
    tmp_path: Path, end: signal.Signals, seconds: float, kept: int, resumed: Resume
) -> None:
    large(tmp_path)
    out, errors = tmp_path / "out", tmp_path / "errors"
    process = start(run_command, tmp_path / "base.yaml", out, errors, end, seconds)
    assert finished(process) == (130 if end == signal.SIGINT else -end)
    assert not list(out.glob("data/*/*"))
    if end == signal.SIGINT:
        assert "40 of 55 images are finished and kept" in errors.read_text()
    assert status(out).configs[0].images_kept == kept
    assert resumed(out) == IMAGES - kept


@pytest.mark.parametrize("lost", [(), (32, 44), (20, 32)])
def test_a_build_may_stop_again_and_again(
    stopped: Path, tmp_path: Path, resumed: Resume, lost: tuple[int, ...]
) -> None:
    """Files are used up to the first image that is in none."""
    for end in (32, 44):
        with pytest.raises(Stopped):
            generate(large(tmp_path), stopped, ending_at(end, interrupt))
    ranges = {read_stamp(path).start: path for path in kept_files(stopped)}
    assert [*sorted(ranges)] == [0, 20, 32]
    if lost:
        ranges[lost[0]].unlink()
    assert status(stopped).configs[0].images_kept == 44 - sum(lost[1:]) + sum(lost[:1])
    assert resumed(stopped) == (IMAGES - lost[0] if lost else IMAGES - 44)


def test_a_failure_keeps_images_too(tmp_path: Path, resumed: Resume) -> None:
    def fail() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        generate(large(tmp_path), tmp_path / "out", ending_at(52, fail))
    assert resumed(tmp_path / "out") == 3


def test_a_growth_that_is_stopped_counts_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate(large(tmp_path), out)
    grown = large(tmp_path, images_per_class=90)
    with pytest.raises(Stopped):
        generate(grown, out, ending_at(64, interrupt))
    assert status(out).configs[0].images_kept == 64
    report = generate(grown, out)
    assert (report.generated, report.kept) == (26, 64)


def test_a_stopped_shard_grows(stopped: Path, tmp_path: Path) -> None:
    report = generate(large(tmp_path, images_per_class=70), stopped)
    assert (report.generated, report.kept) == (50, 20)
    generate(large(tmp_path, images_per_class=70), tmp_path / "once")
    assert tree(stopped) == tree(tmp_path / "once")


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b""])
def test_damaged_files_are_not_used(
    stopped: Path, tmp_path: Path, damage: Any, resumed: Resume
) -> None:
    (path,) = kept_files(stopped)
    path.write_bytes(damage(path.read_bytes()))
    assert resumed(stopped) == IMAGES


@pytest.mark.parametrize("what", ["recipe", "settings"])
def test_files_of_other_builds_are_not_used(
    stopped: Path, tmp_path: Path, what: str, resumed: Resume
) -> None:
    other = tmp_path / "other"
    settings = SETTINGS
    keys = {"prompt": "a {d} {class}", "variables": {"d": ["x", "y"]}} if what == "recipe" else {}
    if what == "settings":
        settings = BuildSettings(batch_size=4, shard_size=100, dtype="float32", attempts=1)
    with pytest.raises(Stopped):
        build(
            large(tmp_path, **keys),
            other,
            settings=settings,
            show_progress=False,
            renderer_factory=ending_at(48, interrupt),
        )
    (own,), (foreign,) = kept_files(stopped), kept_files(other)
    own.unlink()
    foreign.rename(own.with_name(foreign.name))
    assert resumed(stopped) == IMAGES


def test_a_file_that_another_process_removes_is_generated_again(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resumed: Resume
) -> None:
    def gone(path: Path) -> Any:
        path.unlink()
        return read_rows(path)

    monkeypatch.setattr(partial_shards, "read_rows", gone)
    assert resumed(stopped) == IMAGES


def test_twins_are_kept_with_the_images_they_share(tmp_path: Path) -> None:
    recipes = twins(tmp_path, classes=["cat"], images_per_class=IMAGES)
    generate(recipes, tmp_path / "once", Several)
    with pytest.raises(Stopped):
        generate(recipes, tmp_path / "out", ending_at(40, interrupt, Several, "render_as"))
    assert [one.images_kept for one in status(tmp_path / "out").configs] == [40, 40]
    FakeRenderer.calls = 0
    generate(recipes, tmp_path / "out", Several)
    assert FakeRenderer.calls == 4
    assert tree(tmp_path / "out") == tree(tmp_path / "once")


def test_twins_are_counted_as_generated_however_often_they_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = twins(tmp_path, classes=["cat"], images_per_class=IMAGES)
    monkeypatch.setattr(partial_shards, "SECONDS", 0.0)
    report = generate(recipes, tmp_path / "out", Several)
    assert (report.kept, report.generated) == (0, 2 * IMAGES)


def test_failed_images_are_kept_as_failed(tmp_path: Path) -> None:
    class Failing(FakeRenderer):
        def render(self, rows: Sequence[Any], *, batch_size: int) -> Any:
            images: list[Any] = super().render(rows, batch_size=batch_size)
            return [
                None if row.index in (3, 8, 9, 50) else image
                for row, image in zip(rows, images, strict=True)
            ]

    generate(large(tmp_path), tmp_path / "once", Failing)
    with pytest.raises(Stopped):
        generate(large(tmp_path), tmp_path / "out", ending_at(20, interrupt, Failing))
    report = generate(large(tmp_path), tmp_path / "out", Failing)
    assert (report.kept, report.generated, report.num_failed) == (17, 34, 4)
    assert tree(tmp_path / "out") == tree(tmp_path / "once")


def test_files_of_finished_configs_are_left_over(
    stopped: Path, tmp_path: Path, resumed: Resume
) -> None:
    """A process that was suspended may write one after its shard is finished."""
    (path,) = kept_files(stopped)
    data = path.read_bytes()
    assert resumed(stopped) == IMAGES - 20
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    assert verify_set(stopped).whole
    assert status(stopped).configs[0].images_kept == 0
    found = tidy(stopped, delete=False)
    assert list(found.files) == [path.relative_to(stopped).as_posix()]
    generate(load_recipe(tmp_path / "base.yaml"), stopped)
    assert not (stopped / WORKING).exists()


def test_a_build_that_resumes_after_another_has_finished_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was suspended between two batches; the other launch has grown and completed the config."""
    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    grown = large(other, images_per_class=90)
    monkeypatch.setattr(partial_shards, "SECONDS", 0.0)
    sleeping = ending_at(20, lambda: generate(grown, out))
    with pytest.raises(Failure, match="another launch has changed this dataset"):
        generate(large(tmp_path), out, sleeping)
    assert not (out / WORKING).exists()
    assert verify_set(out).whole and status(out).configs[0].images_kept == 0


def test_images_beyond_those_that_another_launch_has_completed_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The markers were removed, so the other launch could begin with fewer images."""
    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    longer, shorter = large(tmp_path, images_per_class=90), large(other)
    monkeypatch.setattr(partial_shards, "SECONDS", 0.0)

    def complete() -> None:
        shutil.rmtree(out / WORKING)
        generate(shorter, out)

    with pytest.raises(Failure, match="another launch has changed this dataset"):
        generate(longer, out, ending_at(20, complete))
    stamps = [read_stamp(path) for path in kept_files(out)]
    assert min(stamp.stop for stamp in stamps) == IMAGES + 1
    report = generate(longer, out)
    assert (report.kept, report.generated) == (90, 0)
    assert verify_set(out).whole


def test_no_file_is_written_while_shards_are_quick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(*args: Any) -> None:
        raise AssertionError("a file costs time")

    monkeypatch.setattr(PartialShards, "write", written)
    assert generate(large(tmp_path), tmp_path / "out").generated == IMAGES
