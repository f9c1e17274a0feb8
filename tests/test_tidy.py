"""Unlisted files are reported, and removed on request; nothing else is removed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import datasets
import pytest
from build_parts import SETTINGS, FakeRenderer, combination, recipe, shard, tree
from damaged_sets import manifest_of
from sleep_parts import leave_over

from factory.builder.build import build
from factory.card.reader_files import publish
from factory.cli.main import main
from factory.common.errors import Failure, UserError
from factory.gates.duplicates import NearDuplicates
from factory.gates.run import run_gates
from factory.inspection.verify import verify_set
from factory.shards.generations import FOLDER, latest, newest, replace
from factory.sharing.push_dataset import push, set_files


def generate(recipes: Any, out: Path, **changes: Any) -> None:
    options = {"settings": SETTINGS, "show_progress": False, "renderer_factory": FakeRenderer}
    build(recipes, out, **(options | changes))


class Dies(Exception):
    pass


class Dying(FakeRenderer):
    last = 0

    def render(self, rows: Any, *, batch_size: int) -> Any:
        if rows[0].index >= Dying.last:
            raise Dies
        return super().render(rows, batch_size=batch_size)


def test_tidy_lists_and_removes_leftovers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    generate(recipe(tmp_path, "base"), out)
    whole = tree(out)
    leave_over(out)
    (out / "data/base/.writing-7-x.parquet").write_text("half")
    stage = out / ".gating/0-0123456789ab/data/base/train-00000-0123456789ab.parquet"
    stage.parent.mkdir(parents=True)
    stage.write_text("staged")
    notes = out / "data/base/notes.txt"
    notes.write_text("the owner's")
    before = tree(out)
    assert main(["tidy", str(out)]) is None
    listed = capsys.readouterr().out
    assert tree(out) == before
    for path in ("data/base/train-00001-0123456789ab.parquet", "data/base/.writing-7-x.parquet"):
        assert path in listed
    assert "3 files left over; --delete removes them" in listed
    main(["tidy", str(out), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (len(found["files"]), found["removed"], found["unfinished"]) == (3, 0, [])
    main(["tidy", str(out), "--delete"])
    assert "3 files removed" in capsys.readouterr().out
    assert notes.read_text() == "the owner's"
    notes.unlink()
    assert tree(out) == whole
    assert not (out / ".gating").exists()
    with pytest.raises(UserError, match="is not a dataset"):
        main(["tidy", str(tmp_path)])


def test_a_file_used_by_a_build_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is suspended between check and removal; a build uses the file."""
    out = tmp_path / "out"
    generate(recipe(tmp_path, "base"), out)
    grown = shutil.copytree(out, tmp_path / "grown")
    more = recipe(tmp_path, "base", images_per_class=8)
    generate(more, grown)
    planned = out / shard(grown, index=2).relative_to(grown)
    shutil.copy(shard(grown, index=2), planned)

    def renamed(path: Path, to: Path) -> Path:
        monkeypatch.undo()
        generate(more, out)
        return path.rename(to)

    monkeypatch.setattr(Path, "rename", renamed)
    with pytest.raises(Failure, match="another process changed this dataset in the meantime"):
        main(["tidy", str(out), "--delete"])
    assert shard(out, index=2) == planned, "the build lists the file that was left over"
    assert verify_set(out).faults == ()
    assert list(out.rglob(".writing-*")) == []


def test_the_only_copy_of_a_listed_shard_gets_its_name_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A `tidy` was killed after it had put aside a shard that a build listed meanwhile."""
    out = tmp_path / "out"
    generate(recipe(tmp_path, "base"), out)
    whole = tree(out)
    listed = shard(out)
    leave_over(out)
    leftover = out / "data/base/train-00001-0123456789ab.parquet"
    twice = shard(out, index=1)
    for path in (listed, leftover):
        path.rename(path.with_name(f".writing-tidied-abc123-{path.name}"))
    shutil.copy(twice, twice.with_name(f".writing-tidied-0f0f0f-{twice.name}"))
    before = tree(out)
    main(["tidy", str(out)])
    said = capsys.readouterr()
    assert "put back by --delete unless it is left over; a tidy that was stopped" in said.err
    assert tree(out) == before and ".writing-tidied-0f0f0f-" in said.out
    main(["tidy", str(out), "--delete", "--json"])
    said = capsys.readouterr()
    name = listed.relative_to(out).as_posix()
    found = json.loads(said.out)
    assert (found["put_back"], found["removed"], len(found["files"])) == ([name], 2, 2)
    assert f"note: {name} was put back" in said.err
    assert tree(out) == whole and verify_set(out).faults == ()


def once_before(
    monkeypatch: pytest.MonkeyPatch, name: str, when: Callable[[Path], bool], act: Callable[[], Any]
) -> None:
    """Let something happen right before a function is called with a certain file."""
    module, _, function = name.rpartition(".")
    call = getattr(import_module(module), function)

    def called(path: Path, *args: Any, **kwargs: Any) -> Any:
        if when(path):
            monkeypatch.undo()
            act()
        return call(path, *args, **kwargs)

    monkeypatch.setattr(name, called)


def test_an_outgrown_shard_that_another_launch_removes_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other launch ends between the look at the short shard and the copy of its rows."""
    out = tmp_path / "out"
    generate(recipe(tmp_path, "base"), out)
    short = shard(out, index=1)
    more = recipe(tmp_path, "base", images_per_class=8)
    read = "factory.builder.row_maker.read_shard"
    once_before(monkeypatch, read, short.__eq__, lambda: generate(more, out))
    generate(more, out)
    assert not short.exists() and verify_set(out).faults == ()
    generate(more, tmp_path / "once")
    assert tree(out) == tree(tmp_path / "once")


@pytest.mark.parametrize("step", ["inspect", "read_rows"])
def test_a_shard_that_is_removed_before_it_gets_columns_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    out = tmp_path / "out"
    generate(recipe(tmp_path, "base"), out)
    short = shard(out, index=1)
    more = recipe(tmp_path, "base", images_per_class=8)
    Dying.last = 0
    with pytest.raises(Dies):
        generate(more, out, renderer_factory=Dying)
    word = recipe(tmp_path, "word", prompt="a {d} {class}", variables={"d": ["x", "y"]})
    grow = f"factory.builder.grow.{step}"
    once_before(monkeypatch, grow, short.__eq__, lambda: generate(more, out))
    generate(word, out)
    assert not short.exists() and verify_set(out).faults == ()
    assert manifest_of(out).configs["base"].rows == 24


def test_one_line_names_a_shard_that_is_lost_in_the_middle_of_a_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    base, word = recipe(tmp_path, "base"), recipe(tmp_path, "word", prompt="one {class}")
    share = combination(tmp_path, "share", ["base", "word"], images_per_class=2)
    generate([base, word], out)
    lost = shard(out)
    read = "factory.builder.row_maker.read_shard"
    once_before(monkeypatch, read, lost.__eq__, lost.unlink)
    with pytest.raises(Failure, match=f"{lost}: was removed while its rows were copied; run the"):
        generate(share, out)
    generate(share, out)
    assert verify_set(out).faults == ()
    shard(out).unlink()
    other = recipe(tmp_path, "other", prompt="two {class}")
    with pytest.raises(Failure, match=f"{lost}: is listed in manifest.json and does not exist"):
        generate(other, out)
    generate(base, out)
    assert verify_set(out).faults == ()


def test_copies_of_a_stopped_build_are_used_only_by_the_next_generation(tmp_path: Path) -> None:
    """A suspended `tidy` has created a generation, and may remove the copies it found."""
    out = tmp_path / "out"
    generate(recipe(tmp_path, "base"), out)
    word = recipe(tmp_path, "word", prompt="a {d} {class}", variables={"d": ["x", "y"]})
    stopped = shutil.copytree(out, tmp_path / "stopped")
    generate(word, stopped)
    copies = [path for path in (stopped / "data/base").iterdir()]
    for path in copies:
        shutil.copy(path, out / "data/base")
    leave_over(out)
    now = newest(out)
    assert now.manifest is not None
    assert replace(out, now, now.manifest, recipes={}) is not None
    generate(word, out)
    for path in copies:
        (out / "data/base" / path.name).unlink(missing_ok=True)
    assert verify_set(out).faults == ()


def test_a_process_suspended_while_the_generations_were_removed_changes_nothing(
    tmp_path: Path,
) -> None:
    """The folder is removed as a message advises; the number after the sleeper's is free then."""
    out = tmp_path / "out"
    generate(recipe(tmp_path, "base"), out)
    for _ in range(3):
        main(["card", str(out)])
        now = newest(out)
        assert now.manifest is not None and replace(out, now, now.manifest, recipes={})
    asleep = newest(out)
    shutil.rmtree(out / FOLDER)
    generate(recipe(tmp_path, "base", images_per_class=8), out)
    before = tree(out)
    assert asleep.manifest is not None
    assert replace(out, asleep, asleep.manifest, recipes={}) is None
    assert latest(out) < asleep.number and newest(out).manifest == manifest_of(out)
    assert tree(out) == before and verify_set(out).faults == ()


def test_the_card_no_longer_lists_removed_files(tmp_path: Path) -> None:
    """A writer was killed between the manifest and the card."""
    out = tmp_path / "out"
    generate(recipe(tmp_path, "base"), out)
    before = shutil.copytree(out, tmp_path / "before")
    generate(recipe(tmp_path, "word", prompt="a {d} {class}", variables={"d": ["x", "y"]}), out)
    shutil.copytree(before / "data", out / "data", dirs_exist_ok=True)
    shutil.copy(before / "README.md", out)
    main(["tidy", str(out), "--delete"])
    found = datasets.load_dataset(str(out), "base", cache_dir=str(tmp_path / "cache"))
    assert len(found["train"]) == 15
    assert verify_set(out).faults == ()


def test_left_over_shards_are_noted_and_not_pushed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    generate(recipe(tmp_path, "base"), out)
    files = set_files(out, manifest_of(out)).keys()
    leave_over(out)
    report = verify_set(out)
    assert (report.faults, len(report.left_over)) == ((), 1)
    assert main(["verify", str(out), "--quiet"]) == 0
    assert "1 shard file in the directory that the dataset does not list" in capsys.readouterr().err
    assert set_files(out, manifest_of(out)).keys() == files


def test_shards_of_an_unfinished_config_stay(tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate(recipe(tmp_path, "base"), out)
    Dying.last = 16
    with pytest.raises(Dies):
        generate(recipe(tmp_path, "base", images_per_class=10), out, renderer_factory=Dying)
    before = tree(out)
    main(["tidy", str(out), "--delete"])
    assert tree(out) == before
    generate(recipe(tmp_path, "base", images_per_class=10), out)
    assert verify_set(out).left_over == ()


def test_a_config_without_shards_is_dropped(tmp_path: Path) -> None:
    """Its recipe is removed; rows that its launch finishes later are used by its build."""
    out = tmp_path / "out"
    base = recipe(tmp_path, "base")
    generate(base, tmp_path / "late")
    Dying.last = 0
    with pytest.raises(Dies):
        generate(base, out, renderer_factory=Dying)
    generate(recipe(tmp_path, "word", prompt="a {d} {class}", variables={"d": ["x", "y"]}), out)
    assert (newest(out).dropped, verify_set(out).faults) == (("base",), ())
    late = shard(tmp_path / "late")
    (out / "data/base").mkdir()
    (out / "data/base" / late.name).write_bytes(late.read_bytes())
    assert len(verify_set(out).left_over) == 1
    FakeRenderer.calls = 0
    generate(base, out)
    assert FakeRenderer.calls == 2, "eight of its fifteen images were there"
    report = verify_set(out)
    assert (report.faults, report.left_over) == ((), ())


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"recipes": {"../../other/conf": "x: 1\n"}},
            "'../../other/conf' is not a valid config name",
        ),
        (
            {"recipes": {"other": "x: 1\n"}},
            "a recipe for 'other', but its manifest has no such config",
        ),
        ({"dropped": ["../../other/conf"]}, "'../../other/conf' is not a valid config name"),
        ({"dropped": ["base"]}, "lists config 'base' both as present and as removed"),
        ({"number": 7}, "but it contains number 7"),
        ({"manifest": None, "recipes": {}}, "it has no manifest"),
    ],
)
def test_a_generation_from_elsewhere_cannot_name_other_paths(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Its names decide which recipes are written and removed."""
    out = tmp_path / "out"
    base = recipe(tmp_path, "base")
    generate(base, out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/conf.yaml").write_text("of somebody")
    (tmp_path / "other/train-00000-0123456789ab.parquet").write_text("of somebody")
    path = out / FOLDER / f"{latest(out):08d}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    before = tree(tmp_path)
    for command in (
        lambda: publish(out, card=True),
        lambda: main(["tidy", str(out), "--delete"]),
        lambda: main(["card", str(out)]),
        lambda: generate(base, out),
    ):
        with pytest.raises(UserError, match=message):
            command()
    assert tree(tmp_path) == before
    faults = [(fault.file, message in fault.found) for fault in verify_set(out).faults]
    assert faults == [(FOLDER, True)]


@pytest.mark.timeout(60)
def test_a_generation_that_is_a_broken_link_ends_at_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate(recipe(tmp_path, "base"), out)
    (out / FOLDER / "00000000099.json").write_text("{}")
    assert newest(out).number == latest(out) < 99, "no number is written like this"
    (out / FOLDER / "00000098.json").symlink_to(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"00000098\.json: file not found"):
        publish(out, card=True)


@pytest.mark.parametrize(
    "name",
    [
        ".gating",
        ".gating/1-ab",
        ".claims",
        ".working",
        ".working/base",
        ".generations",
        ".costs",
        "data",
        "data/base",
        "recipes",
        "card",
        "README.md",
        "manifest.json",
        "scores.json",
        "recipes/base.yaml",
    ],
)
def test_nothing_is_written_or_deleted_through_a_link(name: str, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    base = recipe(tmp_path, "base")
    generate(base, out)
    for made in ("7-x/a", "data/b", "contact-sheet.jpg", "train-00000-0123456789ab.parquet"):
        (other / made).parent.mkdir(parents=True, exist_ok=True)
        (other / made).write_text("of somebody")
    path, is_folder = out / name, "." not in name.lstrip(".")
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        path.rename(tmp_path / "moved")
    path.symlink_to(other if is_folder else other / "contact-sheet.jpg")
    before = tree(tmp_path)
    for command in (
        lambda: main(["tidy", str(out), "--delete"]),
        lambda: main(["card", str(out)]),
        lambda: generate(base, out),
        lambda: run_gates(out, [NearDuplicates()], show_progress=False),
        lambda: push(out, "me/data"),
    ):
        with pytest.raises(UserError, match=f"{name}: is a link to {other}"):
            command()
    assert tree(tmp_path) == before
    assert [fault.file for fault in verify_set(out).faults] == [name]


def test_folders_of_a_dataset_do_not_stand_for_each_other(tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate(recipe(tmp_path, "7"), out)
    (out / ".gating").symlink_to("data")
    before = tree(out)
    with pytest.raises(UserError, match=r"\.gating: is a link"):
        main(["tidy", str(out), "--delete"])
    assert tree(out) == before
    (out / ".gating").unlink()
    (tmp_path / "here").symlink_to(out)
    main(["tidy", str(tmp_path / "here"), "--delete"])
    generate(recipe(tmp_path, "7"), tmp_path / "here")


def test_a_damaged_copy_of_a_recipe_is_written_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    base = recipe(tmp_path, "base")
    generate(base, out)
    path = out / "recipes/base.yaml"
    right = path.read_bytes()
    path.write_bytes(b"\xff\xfe\x00" + right)
    with pytest.raises(UserError, match="was generated from another recipe"):
        generate(recipe(tmp_path, "base", prompt="one {class}"), out)
    generate(base, out)
    assert path.read_bytes() == right
    assert verify_set(out).faults == ()
