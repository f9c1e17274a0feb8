"""Damaged shards are generated again, and no others: cut, flipped, swapped, foreign."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from build_parts import SETTINGS, FakeRenderer, combination, recipe, shard, shard_hashes, tree

from factory.builder.build import BuildReport, build
from factory.common.whole_files import sha256
from factory.inspection.verify import verify_set
from factory.shards.settings import BuildSettings


def generate(recipes: Any, out: Path, **changes: Any) -> BuildReport:
    options = {"settings": SETTINGS, "show_progress": False, "renderer_factory": FakeRenderer}
    return build(recipes, out, **(options | changes))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Return a dataset of 24 images in 3 shards."""
    generate(recipe(tmp_path, "base", images_per_class=8), tmp_path / "whole")
    return tmp_path / "whole"


def repaired(whole: Path, damaged: Path, tmp_path: Path, *, shards: int) -> None:
    """Build over a damaged copy: only the damaged shards are generated, with the same bytes."""
    FakeRenderer.calls = 0
    report = generate(recipe(tmp_path, "base", images_per_class=8), damaged)
    assert (report.generated, report.kept) == (8 * shards, 24 - 8 * shards)
    assert report.regenerated == 8 * shards
    assert FakeRenderer.calls == 2 * shards
    # What replaces a damaged file is a new file: nothing is overwritten.
    assert shard_hashes(damaged) == shard_hashes(whole)
    assert len(list(damaged.glob("data/base/*"))) == 3
    assert verify_set(damaged).faults == ()


def copy(whole: Path) -> Path:
    damaged = whole.parent / "damaged"
    shutil.rmtree(damaged, ignore_errors=True)
    shutil.copytree(whole, damaged)
    return damaged


def test_truncated_shards_are_generated_again(whole: Path, tmp_path: Path) -> None:
    for size in (0, 5, 1000, -1):
        damaged = copy(whole)
        path = shard(damaged, index=1)
        path.write_bytes(path.read_bytes()[:size])
        repaired(whole, damaged, tmp_path, shards=1)


def test_shards_with_flipped_bits_are_generated_again(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = shard(whole).stat().st_size
    for place in (40, size // 3, size // 2, size - 600, size - 20):
        damaged = copy(whole)
        path = shard(damaged)
        data = bytearray(path.read_bytes())
        data[place] ^= 4
        path.write_bytes(data)
        repaired(whole, damaged, tmp_path, shards=1)
        assert f"{path}: " in capsys.readouterr().err


def test_swapped_shards_are_generated_again(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = copy(whole)
    first, second = (shard(damaged, index=number) for number in (0, 1))
    first.rename(damaged / "x")
    second.rename(first)
    (damaged / "x").rename(second)
    repaired(whole, damaged, tmp_path, shards=2)
    assert "is base from image 8 (recipe" in capsys.readouterr().err


def test_shards_of_another_recipe_or_other_settings_are_generated_again(
    whole: Path, tmp_path: Path
) -> None:
    for name, changes, settings in (
        ("base", {"sampling": {"seed": 7}}, SETTINGS),
        ("word", {}, SETTINGS),
        ("base", {}, BuildSettings(batch_size=8, shard_size=8, dtype="float32")),
    ):
        other = tmp_path / f"other-{name}-{len(changes)}-{settings.batch_size}"
        (tmp_path / "others").mkdir(exist_ok=True)
        foreign = recipe(tmp_path / "others", name, images_per_class=8, **changes)
        generate(foreign, other, settings=settings)
        damaged = copy(whole)
        shutil.copy(shard(other, name, index=1), shard(damaged, index=1))
        repaired(whole, damaged, tmp_path, shards=1)


def test_a_lost_shard_and_a_lost_card_are_written_again(whole: Path, tmp_path: Path) -> None:
    damaged = copy(whole)
    shard(damaged, index=2).unlink()
    (damaged / "README.md").unlink()
    report = generate(recipe(tmp_path, "base", images_per_class=8), damaged)
    assert (report.generated, report.kept, report.regenerated) == (8, 16, 0)
    assert tree(damaged) == tree(whole)


def test_a_damaged_share_is_copied_again(tmp_path: Path) -> None:
    recipe(tmp_path, "base", images_per_class=10)
    recipe(tmp_path, "word", prompt="{class}", images_per_class=10)
    share = combination(tmp_path, "share", ["base", "word"], images_per_class=4)
    generate(share, tmp_path / "out")
    before = shard_hashes(tmp_path / "out")
    path = shard(tmp_path / "out", "share", index=1)
    path.write_bytes(path.read_bytes()[:-3])
    FakeRenderer.calls = 0
    generate(share, tmp_path / "out")
    assert FakeRenderer.calls == 0
    assert shard_hashes(tmp_path / "out") == before


def test_a_damaged_shard_of_a_growing_dataset_is_generated_again(tmp_path: Path) -> None:
    for number in (0, 1):
        out = tmp_path / str(number)
        generate(recipe(tmp_path, "base"), out)
        path = shard(out, index=number)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        generate(recipe(tmp_path, "base", images_per_class=8), out)
        generate(recipe(tmp_path, "base", images_per_class=8), tmp_path / "once")
        assert shard_hashes(out) == shard_hashes(tmp_path / "once")
        assert verify_set(out).faults == ()


def test_a_shard_without_stamp_is_generated_again(whole: Path, tmp_path: Path) -> None:
    """Its bytes may match the manifest, but nothing shows that a build wrote its rows."""
    old = copy(whole)
    manifest = json.loads((old / "manifest.json").read_text())
    for entry in manifest["configs"]["base"]["shards"]:
        path = old / entry["file"]
        pyarrow.parquet.write_table(pyarrow.parquet.read_table(path), path)
        entry["sha256"] = sha256(path)
    (old / "manifest.json").write_text(json.dumps(manifest))
    faults = [str(fault) for fault in verify_set(old).faults]
    assert sum("carries no stamp, so no build wrote it" in fault for fault in faults) == 3
    report = generate(recipe(tmp_path, "base", images_per_class=8), old)
    assert (report.kept, report.generated) == (0, 24)
    assert shard_hashes(old) == shard_hashes(whole)
