"""`verify`, `replay`, `status` and `diff` for a dataset at a URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from build_parts import SETTINGS, FakeRenderer, combination, recipe, shard

from factory.builder.build import build
from factory.common.storage import open_path
from factory.inspection.diff import diff
from factory.inspection.replay import replay
from factory.inspection.status import status
from factory.inspection.verify import Sample, verify_set


@pytest.fixture
def url(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Build a config, a share and a union in this process's memory file system."""
    where = f"memory://{tmp_path.name}/out"
    base, word = recipe(tmp_path, "base"), recipe(tmp_path, "word", prompt="{class}")
    recipes = [
        base,
        word,
        combination(tmp_path, "share", ["base", "word"], images_per_class=2),
        combination(tmp_path, "both", ["base", "word"]),
    ]
    options: dict[str, Any] = {"settings": SETTINGS, "show_progress": False}
    build(recipes, where, renderer_factory=FakeRenderer, **options)
    return where


def test_a_whole_set_and_a_damaged_one(url: str) -> None:
    sample = Sample(1.0, renderer_factory=FakeRenderer)
    report = verify_set(url, sample=sample)
    assert (report.faults, report.rows, report.compared) == ((), 36, 36)
    place = open_path(url)
    flipped, lost = shard(place), shard(place, "word", index=1)
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(bytes(data))
    lost.unlink()
    (open_path(url) / "data" / "word" / "stray.parquet").write_bytes(b"x")
    assert {fault.file for fault in verify_set(url, sample=sample).faults} == {
        flipped.relative_to(place).as_posix(),
        lost.relative_to(place).as_posix(),
        "data/word/stray.parquet",
    }


def test_one_image_again(url: str) -> None:
    done = replay(url, config="share", index=5, renderer_factory=FakeRenderer)
    assert done.regenerated.same_bytes


def test_status_and_diff_at_a_url(url: str, tmp_path: Path) -> None:
    assert [one.done for one in status(url).configs] == [2, 0, 1, 2]
    assert status(url).complete
    assert diff(url, str(tmp_path)).same
    recipe(tmp_path, "base", images_per_class=7)
    base = next(one for one in diff(url, str(tmp_path)).configs if one.name == "base")
    assert base.shards is not None
    assert (base.shards.kept, base.shards.completed, base.shards.generated) == (1, 1, 1)
