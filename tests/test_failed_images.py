"""Black, flat or non-finite images: generated again, then recorded as failed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import pytest
import torch
from build_parts import SETTINGS, FakeRenderer, combination, recipe, tree

from factory.builder.build import BuildReport, build
from factory.cli.main import main
from factory.common.errors import Failure
from factory.models.inference import InferenceSettings
from factory.planner.plan import ImageSpec, plan
from factory.planner.streams import attempt_seed
from factory.renderer.flaws import BLACK, FLAT, NOT_FINITE, flaw
from factory.renderer.pipelines import Pipelines
from factory.renderer.pool import Renderers
from factory.shards.manifest import read_manifest
from factory.shards.parquet import encode_image, list_shards, read_rows

NEVER = {5: np.zeros, 6: None, 13: "flat"}
"""Indexes that always come out wrong, and how."""
TWICE = {2, 9}
"""Indexes whose first two attempts come out black."""


class Flawed(FakeRenderer):
    batches: ClassVar[list[list[tuple[int, int]]]] = []

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> Any:
        Flawed.batches.append([(row.index, row.attempt) for row in rows])
        generated = super().render(rows, batch_size=batch_size)
        return [self._spoil(row, image) for row, image in zip(rows, generated, strict=True)]

    def _spoil(self, row: ImageSpec, image: Any) -> Any:
        if row.index in TWICE and row.attempt < 2:
            return np.zeros_like(image)
        if row.index not in NEVER:
            return image
        how = NEVER[row.index]
        return None if how is None else np.full_like(image, 0 if how is np.zeros else 99)


def generate(recipes: Any, out: Path, **changes: Any) -> BuildReport:
    options = {"settings": SETTINGS, "show_progress": False, "renderer_factory": Flawed}
    return build(recipes, out, **(options | changes))


def rows_of(out: Path, config: str) -> dict[int, dict[str, Any]]:
    rows = [row for shard in list_shards(out, config) for row in read_rows(shard.path)]
    return {row["index"]: row for row in rows}


def test_flaws_of_images() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    stroke = np.zeros((8, 8, 3), dtype=np.uint8)
    stroke[3, 3] = 255
    coloured = np.full((8, 8, 3), (200, 10, 30), dtype=np.uint8)
    dark = np.random.default_rng(0).integers(0, 3, (8, 8, 3), dtype=np.uint8)
    assert flaw(noise) is None
    assert flaw(stroke) is None
    # Every pixel counts, in images of any size and layout.
    for height, width, y, x in ((8, 8, 0, 0), (65, 70, 64, 69), (65, 70, 7, 9), (1, 9, 0, 4)):
        point = np.full((height, width, 3), 90, dtype=np.uint8)
        assert flaw(point) == FLAT
        point[y, x, 1] += 3
        assert flaw(point) is None
        assert flaw(point.transpose(1, 0, 2)) is None
        assert flaw(point // 40) == BLACK
    assert flaw(noise[:1, :1]) is None
    assert flaw(dark) == BLACK
    assert flaw(coloured) == FLAT
    assert flaw(coloured + (dark // 2)) == FLAT
    assert flaw(None) == NOT_FINITE


def test_failed_images_are_left_out_and_listed(tmp_path: Path) -> None:
    base = recipe(tmp_path, "base", images_per_class=8)
    report = generate(base, tmp_path / "out")
    assert [(one.index, one.label, one.reason, one.attempts) for one in report.failed["base"]] == [
        (5, 2, BLACK, 4),
        (6, 0, NOT_FINITE, 4),
        (13, 1, FLAT, 4),
    ]
    assert (report.num_failed, report.generated) == (3, 21)
    rows = rows_of(tmp_path / "out", "base")
    assert sorted(rows) == [index for index in range(24) if index not in NEVER]
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    entry = manifest.configs["base"]
    assert (entry.failed, entry.images, entry.rows) == (report.failed["base"], 24, 21)
    assert [(one.rows, len(one.failed)) for one in entry.shards] == [(6, 2), (7, 1), (8, 0)]
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=tmp_path / "c")
    assert len(loaded) == 21
    card = (tmp_path / "out/README.md").read_text()
    assert "21 images, 3 classes" in card
    assert "3 images of `base` could not be generated (black, flat, the model produced NaN" in card


def test_a_later_attempt_is_a_function_of_the_planned_seed(tmp_path: Path) -> None:
    base = recipe(tmp_path, "base", images_per_class=8)
    generate(base, tmp_path / "out")
    rows, planned = rows_of(tmp_path / "out", "base"), plan(base).rows(0, 24)
    for index, row in rows.items():
        assert row["attempt"] == (2 if index in TWICE else 0)
        assert row["seed"] == attempt_seed(planned[index].seed, row["attempt"])
        again = planned[index].again(row["attempt"]) if row["attempt"] else planned[index]
        image = FakeRenderer(base).render([again], batch_size=1)[0]
        assert {**again.as_row(), "image": row["image"]} == row
        assert row["image"]["bytes"] == encode_image(image, base.output)
    seeds = {attempt_seed(planned[2].seed, attempt) for attempt in range(50)}
    assert len(seeds) == 50
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_only_flawed_images_of_one_batch_are_generated_again_together(tmp_path: Path) -> None:
    Flawed.batches = []
    generate(recipe(tmp_path, "base", images_per_class=3), tmp_path / "out")
    assert Flawed.batches == [
        [(0, 0), (1, 0), (2, 0), (3, 0)],
        [(2, 1)],
        [(2, 2)],
        [(4, 0), (5, 0), (6, 0), (7, 0)],
        *[[(5, attempt), (6, attempt)] for attempt in (1, 2, 3)],
        [(8, 0)],
    ]


@pytest.mark.parametrize("first", [2, 3, 5])
def test_a_grown_set_equals_one_built_at_once(tmp_path: Path, first: int) -> None:
    generate(recipe(tmp_path, "base", images_per_class=first), tmp_path / "grown")
    grown = generate(recipe(tmp_path, "base", images_per_class=8), tmp_path / "grown")
    once = generate(recipe(tmp_path, "base", images_per_class=8), tmp_path / "once")
    assert tree(tmp_path / "grown") == tree(tmp_path / "once")
    assert grown.failed == once.failed


def test_a_second_build_generates_nothing_and_reports_again(tmp_path: Path) -> None:
    base = recipe(tmp_path, "base", images_per_class=8)
    first = generate(base, tmp_path / "out")
    Flawed.batches = []
    second = generate(base, tmp_path / "out")
    assert Flawed.batches == []
    assert (second.failed, second.kept, second.generated) == (first.failed, 21, 0)


def test_a_share_skips_failed_images_of_its_members(tmp_path: Path) -> None:
    recipe(tmp_path, "base", images_per_class=8)
    recipe(tmp_path, "word", prompt="{class}", images_per_class=8)
    share = combination(tmp_path, "share", ["base", "word"], images_per_class=6)
    report = generate(share, tmp_path / "out")
    rows = [r for s in list_shards(tmp_path / "out", "share") for r in read_rows(s.path)]
    expected = [(name, index) for name in ("base", "word") for index in range(9)]
    expected = [one for one in expected if one[1] not in (5, 6)]
    assert [(row["recipe"], row["index"]) for row in rows] == expected
    assert [one.index for one in report.failed["share"]] == [5, 6, 14, 15]
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    assert manifest.num_images("share") == 14


def test_attempts_are_a_setting_of_the_set(tmp_path: Path) -> None:
    base = recipe(tmp_path, "base", images_per_class=8)
    report = generate(base, tmp_path / "out", settings=replace(SETTINGS, attempts=2))
    assert [one.index for one in report.failed["base"]] == [2, 5, 6, 9, 13]
    assert {one.attempts for one in report.failed["base"]} == {2}


def test_a_model_that_generates_nothing_is_stopped(tmp_path: Path) -> None:
    class Nothing(FakeRenderer):
        def render(self, rows: Any, *, batch_size: int) -> Any:
            return [None] * len(rows)

    message = r"all images from 0 to 7 failed after 4 attempts each .*--dtype float32"
    with pytest.raises(Failure, match=message):
        generate(recipe(tmp_path, "base"), tmp_path / "out", renderer_factory=Nothing)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_shard_whose_only_image_failed_is_empty_and_loads(tmp_path: Path) -> None:
    class Last(FakeRenderer):
        def render(self, rows: Any, *, batch_size: int) -> Any:
            generated = super().render(rows, batch_size=batch_size)
            return [None if r.index == 8 else p for r, p in zip(rows, generated, strict=True)]

    report = generate(
        recipe(tmp_path, "base", images_per_class=3), tmp_path / "out", renderer_factory=Last
    )
    assert report.num_failed == 1
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=tmp_path / "c")
    assert loaded["index"][:] == list(range(8))


def test_the_exit_status_is_1_unless_failures_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Renderers, "_make", lambda self, recipe, dtype: Flawed(recipe))
    recipe(tmp_path, "base", images_per_class=8)
    out = str(tmp_path / "out")
    command = ["build", str(tmp_path / "base.yaml"), out, "--quiet", "--threads", "1"]
    command += ["--batch-size", "4", "--shard-size", "8"]
    with pytest.raises(Failure, match=r"3 images failed .*--allow-failed"):
        main(command)
    shown = capsys.readouterr().out
    assert "base: image 6 failed: the model produced NaN or infinite values (4 attempts)" in shown
    before = tree(Path(out))
    main([*command, "--allow-failed"])
    assert "21 already present" in capsys.readouterr().out
    main([*command, "--allow-failed", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["kept"], report["complete"]) == (0, 21, True)
    assert 6 in [image["index"] for image in report["failed"]["base"]]
    assert tree(Path(out)) == before


class Small:
    """Generates on a device with memory for a limited number of images per batch."""

    def __init__(self, room: int, error: type[Exception], words: str) -> None:
        self.room, self.error, self.words = room, error, words

    def __call__(self, recipe_: Any) -> Any:
        outer = self

        class Limited(FakeRenderer):
            def render(self, rows: Any, *, batch_size: int) -> Any:
                if batch_size > outer.room:
                    raise outer.error(outer.words)
                return super().render(rows, batch_size=batch_size)

        return Limited(recipe_)


def test_too_little_memory_names_the_batch_size_that_fits(tmp_path: Path) -> None:
    base = recipe(tmp_path, "base", images_per_class=8)
    small = Small(1, torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2 GiB")
    with pytest.raises(Failure, match=r"with batch size 4; 1 fits: build with --batch-size 1 "):
        generate(base, tmp_path / "out", renderer_factory=small)
    assert not list(tmp_path.rglob("*.parquet"))
    cpu = Small(2, RuntimeError, "DefaultCPUAllocator: can't allocate memory: you tried to ...")
    with pytest.raises(Failure, match="2 fits: build with --batch-size 2"):
        generate(base, tmp_path / "out", renderer_factory=cpu)
    none = Small(0, MemoryError, "")
    with pytest.raises(Failure, match="with batch size 4 and also with 1: free memory"):
        generate(base, tmp_path / "out", renderer_factory=none)
    with pytest.raises(RuntimeError, match="shapes differ"):
        generate(base, tmp_path / "out", renderer_factory=Small(0, RuntimeError, "shapes differ"))


def test_a_model_that_does_not_fit_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*args: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr(Pipelines, "get", too_large)
    renderers = Renderers(None, device="cpu")
    with pytest.raises(Failure, match=r"model .*: its weights do not fit into the device's memory"):
        renderers.get(recipe(tmp_path, "base"), InferenceSettings(dtype="float32"))
