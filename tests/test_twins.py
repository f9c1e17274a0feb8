"""Configs that differ only in `output` are generated once, with the bytes of single builds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from build_parts import SETTINGS, FakeRenderer, combination, recipe, tree

from factory.builder.build import build
from factory.common.image_arrays import ImageArray
from factory.planner.plan import ImageSpec
from factory.recipe.resolved import ResolvedRecipe
from factory.recipe.schema import Output
from factory.renderer.resize import rescale


class Several(FakeRenderer):
    """Generates noise of 16 px from the seed and counts its batches."""

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[ImageArray]:
        return self.render_as([self.recipe.output], rows, batch_size=batch_size)[0]

    def render_as(
        self, outputs: Sequence[Output], rows: Sequence[ImageSpec], *, batch_size: int
    ) -> list[list[ImageArray]]:
        FakeRenderer.calls += 1
        generated = [np.random.default_rng(row.seed).random((3, 16, 16)) for row in rows]
        images = torch.tensor(np.stack(generated), dtype=torch.float32)
        return [rescale(images, output) for output in outputs]


def twins(folder: Path, **keys: Any) -> list[ResolvedRecipe]:
    base = {"output": {"size": 8, "antialias": False}} | keys
    smooth = base | {"output": {"size": 8, "antialias": True}, "same_images_as": "base"}
    return [recipe(folder, "base", **base), recipe(folder, "smooth", **smooth)]


def calls(recipes: Sequence[ResolvedRecipe], out: Path) -> int:
    FakeRenderer.calls = 0
    build(recipes, out, settings=SETTINGS, renderer_factory=Several)
    return FakeRenderer.calls


def shards(out: Path) -> dict[str, str]:
    return {name: digest for name, digest in tree(out).items() if name.endswith(".parquet")}


def test_twins_are_generated_once_with_the_bytes_of_single_builds(tmp_path: Path) -> None:
    base, smooth = twins(tmp_path)
    alone = calls([base], tmp_path / "base")
    assert calls([smooth], tmp_path / "smooth") == alone
    assert calls([smooth, base], tmp_path / "both") == alone
    both = shards(tmp_path / "both")
    assert both == shards(tmp_path / "base") | shards(tmp_path / "smooth")
    assert len(set(both.values())) == len(both) == 4


def test_a_report_counts_each_image_once(tmp_path: Path) -> None:
    recipes = twins(tmp_path)
    first = build(recipes, tmp_path / "out", settings=SETTINGS, renderer_factory=Several)
    assert (first.generated, first.kept) == (30, 0)
    again = build(recipes, tmp_path / "out", settings=SETTINGS, renderer_factory=Several)
    assert (again.generated, again.kept) == (0, 30)


def test_twins_grow_together(tmp_path: Path) -> None:
    once = calls(twins(tmp_path, images_per_class=9), tmp_path / "once")
    calls(twins(tmp_path), tmp_path / "out")
    grown = calls(twins(tmp_path, images_per_class=9), tmp_path / "out")
    assert grown < once
    assert shards(tmp_path / "out") == shards(tmp_path / "once")


def test_a_twin_that_comes_later_is_generated_by_itself(tmp_path: Path) -> None:
    base, smooth = twins(tmp_path)
    alone = calls([base], tmp_path / "out")
    assert calls([base, smooth], tmp_path / "out") == alone
    calls([base, smooth], tmp_path / "both")
    assert shards(tmp_path / "out") == shards(tmp_path / "both")


def test_twins_of_other_sizes_have_the_bytes_of_single_builds(tmp_path: Path) -> None:
    (base,) = twins(tmp_path)[:1]
    (smooth,) = twins(tmp_path, images_per_class=7)[1:]
    calls([smooth], tmp_path / "smooth")
    calls([base, smooth], tmp_path / "both")
    found = shards(tmp_path / "both")
    assert found.items() >= shards(tmp_path / "smooth").items()


def test_a_combination_of_twins_generates_them_once(tmp_path: Path) -> None:
    base, _ = twins(tmp_path)
    alone = calls([base], tmp_path / "base")
    union = combination(tmp_path, "all", ["base", "smooth"])
    assert calls([union], tmp_path / "out") == alone


def test_a_renderer_that_knows_nothing_of_twins_generates_each(tmp_path: Path) -> None:
    recipes = twins(tmp_path)
    FakeRenderer.calls = 0
    build(recipes, tmp_path / "out", settings=SETTINGS, renderer_factory=FakeRenderer)
    assert FakeRenderer.calls == 8


@pytest.mark.slow
def test_a_real_pipeline_generates_twins_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from factory.renderer.diffusers_renderer import DiffusersRenderer

    model = {"id": str(tiny_models.save_stable_diffusion(tmp_path / "sd"))}
    base, smooth = twins(tmp_path, model=model, images_per_class=3)
    generated: list[int] = []
    generate = DiffusersRenderer._generate

    def counting(self: DiffusersRenderer, rows: Sequence[ImageSpec]) -> torch.Tensor:
        generated.append(len(rows))
        return generate(self, rows)

    monkeypatch.setattr(DiffusersRenderer, "_generate", counting)
    for name, recipes in {"base": [base], "smooth": [smooth], "both": [base, smooth]}.items():
        build(recipes, tmp_path / name, settings=SETTINGS)
        generated.append(0)
    assert generated == [4, 4, 4, 0] * 3
    assert shards(tmp_path / "both") == shards(tmp_path / "base") | shards(tmp_path / "smooth")
