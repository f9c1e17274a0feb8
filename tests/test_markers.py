"""Markers: unmarked shards come first, marked ones last, and no process waits."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from build_parts import SETTINGS, FakeRenderer, combination, recipe, tree

from factory.builder import build as builder
from factory.builder.behind import Ending
from factory.builder.build import BuildReport, build
from factory.builder.markers import Markers, list_markers, remove_empty_folders
from factory.builder.ranks import Ranks
from factory.builder.start import Start
from factory.builder.task_queue import LaunchBoard, Worklist
from factory.cli.main import main
from factory.common.errors import Failure
from factory.common.local_paths import OLD_CLAIMS, WORKING
from factory.renderer.pool import Renderers
from factory.shards.generations import Generation, newest
from factory.shards.manifest import ShardEntry


def generate(recipes: Any, out: Path, factory: Any = FakeRenderer) -> BuildReport:
    return build(recipes, out, settings=SETTINGS, show_progress=False, renderer_factory=factory)


class Shards:
    """Shards of a config in memory, and the order in which they were made."""

    def __init__(self, out: Path, *, there: set[int]) -> None:
        self.out, self.there = out, there
        self.made: list[int] = []

    def make(self, task: int) -> Ending:
        self.made.append(task)
        self.there.add(task)
        ending = Ending()
        ending.set_result(ShardEntry(file=f"data/a/{task}", rows=1, sha256="0" * 64))
        return ending

    def work(self, *, count: int, fresh: int) -> None:
        board = LaunchBoard(Ranks(device="cpu"), "set")
        Worklist(
            [("a", task) for task in range(count)],
            board=board,
            markers=Markers(self.out),
            order=range(count),
            fresh=fresh,
            exists=self.there.__contains__,
            make=self.make,
            close=lambda: None,
        ).run()
        assert board.num_settled() == count


def test_shards_that_others_have_marked_come_last_those_with_fewest_markers_first(
    tmp_path: Path,
) -> None:
    markers = Markers(tmp_path)
    for shard, number in ((0, 0), (0, 1), (1, 0), (7, 0)):
        assert markers.add("a", shard, number)
    shards = Shards(tmp_path, there={4, 5})
    shards.work(count=6, fresh=4)
    assert shards.made == [2, 3, 4, 5, 1, 0]
    assert [(one.shard, one.number) for one in list_markers(tmp_path)] == [(7, 0)]


def test_shards_that_others_make_meanwhile_are_looked_at_after_the_missing_ones(
    tmp_path: Path,
) -> None:
    shards = Shards(tmp_path, there={1})
    shards.work(count=3, fresh=3)
    assert shards.made == [0, 2, 1]


def test_a_shard_that_fails_leaves_no_marker_of_its_own(tmp_path: Path) -> None:
    Markers(tmp_path).add("a", 0, 0)
    shards = Shards(tmp_path, there=set())
    shards.make = lambda task: 1 // 0  # type: ignore[method-assign,assignment]
    with pytest.raises(ZeroDivisionError):
        shards.work(count=1, fresh=1)
    assert [(one.shard, one.number) for one in list_markers(tmp_path)] == [(0, 0)]


def test_a_number_is_taken_once_and_empty_folders_go(tmp_path: Path) -> None:
    first, second = Markers(tmp_path), Markers(tmp_path)
    assert first.add("a.b", 3, 0)
    assert not second.add("a.b", 3, 0)
    assert second.next_numbers({"a.b", "c"}) == {("a.b", 3): 1}
    (tmp_path / WORKING / "a.b" / "of-somebody").touch()
    first.remove("a.b", 3, range(1))
    assert list_markers(tmp_path) == []
    remove_empty_folders(tmp_path)
    assert (tmp_path / WORKING / "a.b" / "of-somebody").exists()
    (tmp_path / WORKING / "a.b" / "of-somebody").unlink()
    remove_empty_folders(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_shard_that_another_launch_has_finished_is_dropped_after_the_batch(
    tmp_path: Path,
) -> None:
    base, out = recipe(tmp_path, "base", images_per_class=8), tmp_path / "out"
    generate(base, tmp_path / "other")

    class Slow(FakeRenderer):
        def render(self, rows: Any, *, batch_size: int) -> Any:
            if rows[0].index == 8:
                while not list(out.glob("data/base/*-00000-*")):
                    time.sleep(0.01)
                # The first shard may be checked just now.
                others = shutil.ignore_patterns("*-00000-*")
                shutil.copytree(
                    tmp_path / "other/data", out / "data", ignore=others, dirs_exist_ok=True
                )
            return super().render(rows, batch_size=batch_size)

    report = generate(base, out, Slow)
    assert (report.generated, report.kept) == (8 + 4, 16), "the first shard, and half of the second"
    assert tree(out) == tree(tmp_path / "other")


def test_the_folder_is_gone_after_a_build_that_was_complete(tmp_path: Path) -> None:
    base, word = recipe(tmp_path, "base"), recipe(tmp_path, "word", prompt="{class}")
    share = combination(tmp_path, "share", ["base", "word"], images_per_class=2)
    out = tmp_path / "out"
    for config in ("base", "share", "an older config"):
        assert Markers(out).add(config, 0, 0)
    generate([base, word, share], out)
    assert not (out / WORKING).exists()
    generate([base, word, share], tmp_path / "once")
    assert tree(out) == tree(tmp_path / "once")


def test_markers_of_configs_that_are_not_complete_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Dying(FakeRenderer):
        def render(self, rows: Any, *, batch_size: int) -> Any:
            if rows[0].index >= 8:
                raise ZeroDivisionError
            return super().render(rows, batch_size=batch_size)

    out = tmp_path / "out"
    with pytest.raises(ZeroDivisionError):
        generate(recipe(tmp_path, "word", prompt="{class}"), out, Dying)
    Markers(out).add("word", 1, 0)
    generate(recipe(tmp_path, "base"), out)
    Markers(out).add("base", 1, 0)
    main(["tidy", str(out), "--delete"])
    assert f"{WORKING}/base/00001.0" in capsys.readouterr().out
    assert [(one.config, one.shard) for one in list_markers(out)] == [("word", 1)]


def test_a_launch_whose_dataset_grows_while_its_processes_start_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, out = recipe(tmp_path, "base"), tmp_path / "out"
    grown = recipe(tmp_path, "base", images_per_class=8)

    prepare = builder._prepare

    def late(place: Path, *args: Any, **options: Any) -> tuple[Start, Generation]:
        """Act like a rank that reads the directory after another launch has changed it."""
        monkeypatch.undo()
        start, _ = prepare(place, *args, **options)
        generate(grown, place)
        return start, newest(place)

    monkeypatch.setattr(builder, "_prepare", late)
    with pytest.raises(Failure, match=r"has changed this dataset .*while its processes started"):
        generate(base, out)
    generate(grown, tmp_path / "once")
    assert tree(out) == tree(tmp_path / "once")


def test_claims_of_an_earlier_version_are_ignored_and_tidied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / OLD_CLAIMS).mkdir(parents=True)
    for name in ("base.00000.0", "prepare.0", "launch-0123abcd.0"):
        (out / OLD_CLAIMS / name).write_text('{"launch": "0123abcd", "owner": "", "beat": 3}')
    assert generate(recipe(tmp_path, "base"), out).generated == 15
    main(["tidy", str(out), "--delete"])
    assert f"{OLD_CLAIMS}/prepare.0" in capsys.readouterr().out
    assert not (out / OLD_CLAIMS).exists()


def test_the_option_of_claims_is_accepted_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Renderers, "_make", lambda self, recipe, dtype: FakeRenderer(recipe))
    recipe(tmp_path, "base")
    words = ["build", str(tmp_path / "base.yaml"), str(tmp_path / "out"), "--quiet"]
    main([*words, "--threads", "1", "--claim-expiry", "60"])
    assert capsys.readouterr().err.count("--claim-expiry no longer has an effect") == 1
    main([*words, "--threads", "1"])
    assert "--claim-expiry" not in capsys.readouterr().err


def test_a_marker_whose_folder_cannot_be_synchronised_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    markers = Markers(tmp_path)
    assert markers.add("a", 0, 0)
    synced = os.fsync

    def of_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", of_files)
    with pytest.raises(OSError, match="quota exceeded"):
        markers.add("a", 1, 0)
    # Processes in two containers may have one host name and number.
    with pytest.raises(OSError, match="quota exceeded"):
        Markers(tmp_path).add("a", 0, 0)
    assert [one.shard for one in list_markers(tmp_path)] == [0]
