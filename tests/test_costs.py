"""The time of generation: recorded by each process, outside of the dataset, and reported."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from build_parts import LABELS, SETTINGS, FakeRenderer, combination, recipe, tree

from eval.report_page.gather import gather
from eval.report_page.generation import read_generation
from eval.report_page.page import render
from factory.builder import costs
from factory.builder.build import build
from factory.builder.costs import Costs
from factory.builder.tidy import tidy
from factory.common.errors import Failure
from factory.common.local_paths import COSTS
from factory.inspection.verify import verify_set
from factory.shards.directory import require_set
from factory.sharing.push_dataset import set_files


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Dying(FakeRenderer):
    def render(self, rows: Any, *, batch_size: int) -> Any:
        if rows[0].index >= 8:
            raise Failure("the model produced NaN or infinite values for image 8")
        return super().render(rows, batch_size=batch_size)


def generate(recipes: Any, out: Path, renderer: type[FakeRenderer] = FakeRenderer) -> None:
    build(recipes, out, settings=SETTINGS, show_progress=False, renderer_factory=renderer)


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted((out / COSTS).glob("*"))]


def test_each_process_records_what_it_generated_also_if_it_fails(tmp_path: Path) -> None:
    base, other = recipe(tmp_path, "base"), recipe(tmp_path, "other")
    both = combination(tmp_path, "both", ["base", "other"], images_per_class=2)
    out = tmp_path / "out"
    with pytest.raises(Failure, match="infinite values"):
        generate(base, out, Dying)
    (record,) = records(out)
    assert record["configs"]["base"]["images"] == 8
    generate([base, other, both], out)
    assert len(records(out)) == 2
    generate([base, other, both], out)
    assert len(records(out)) == 2, "it generated nothing"
    found = read_generation(out)
    assert found.images == {"base": 15, "other": 15}, "copies of a share cost no generation"
    assert found.processes == sum(number for _, number in found.devices) == 2
    assert 0 < sum(found.seconds.values()) <= found.total_seconds
    # The records are no part of the dataset.
    generate([base, other, both], tmp_path / "once")
    assert tree(out) == tree(tmp_path / "once")
    assert verify_set(out).faults == ()
    assert tidy(out, delete=True).files == {}
    assert len(records(out)) == 2
    assert not [name for name in set_files(out, require_set(out)) if COSTS in name]


def test_time_within_the_time_of_another_config_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(costs, "time", clock)
    found = Costs()
    clock.now = 100
    with found.timed("base"):
        clock.now += 3
        found.add("base", 4)
        with found.timed("twin"):
            clock.now += 1
            found.add("twin", 4)
        clock.now += 5
    clock.now += 1000
    with pytest.raises(Failure), found.timed("base"):
        clock.now += 0.25
        raise Failure("no memory")
    found.write(tmp_path, "cpu")
    (record,) = records(tmp_path)
    assert record["configs"] == {
        "base": {"images": 4, "seconds": 8.25},
        "twin": {"images": 4, "seconds": 1},
    }
    assert record["seconds"] == 1109.25


def test_a_record_that_cannot_be_written_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / COSTS).write_text("no folder")
    found = Costs()
    with found.timed("base"):
        found.add("base", 1)
    found.write(out, "cpu")
    assert "the time of this process is not recorded: " in capsys.readouterr().err
    # On a full disk no empty folder remains.
    (out / COSTS).unlink()
    monkeypatch.setattr("factory.common.storage.link", _full_disk)
    found.write(out, "cpu")
    assert "No space left on device" in capsys.readouterr().err
    assert not (out / COSTS).exists()


def _full_disk(*_: object) -> bool:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_report_shows_time_device_and_what_is_unknown(tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate([recipe(tmp_path, "base", classes=LABELS)], out)
    shutil.rmtree(out / COSTS)
    unknown = gather(out, own_command="")
    assert "no build recorded it in this directory" in render(unknown)
    assert [one.topic for one in unknown.shortfalls].count("Cost") == 1
    (out / COSTS).mkdir()

    def record(name: str, images: int, seconds: float, device: str = "A <b>GPU</b>") -> None:
        values = {"images": images, "seconds": seconds}
        text = json.dumps({"device": device, "seconds": 7200, "configs": {"base": values}})
        (out / COSTS / name).write_text(text)

    record("a.json", 8, 3600)
    record("b.json", 4, 1800, device="another")
    # A stranger's.
    record("c.json", -1, 10)
    (out / COSTS / "d.json").write_text("{")
    elsewhere = tmp_path / "elsewhere.json"
    shutil.copy(out / COSTS / "a.json", elsewhere)
    (out / COSTS / "e.json").symlink_to(elsewhere)
    found = gather(out, own_command="")
    page = render(found)
    assert "summed over 2 processes" in page and "they took 4 h in all" in page
    assert "A &lt;b&gt;GPU&lt;/b&gt;" in page and "another" in page
    assert '<td class="num">12</td><td class="num">1.5 h</td><td class="num">0.002222</td>' in page
    facts = [one.fact for one in found.shortfalls if one.topic == "Cost"]
    assert len(facts) == 2
    assert "known of 12 of 15 images of base" in facts[0]
    assert facts[1] == "3 records of a process cannot be read."
    record("b.json", 7, 1800)
    assert "known of" not in " ".join(one.fact for one in gather(out, own_command="").shortfalls)
