"""Datasets read by `load_dataset`, streaming and timm; a stale cache is never used."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from build_parts import LABELS, SETTINGS, FakeRenderer, combination, recipe

from factory.builder.build import build
from factory.planner.plan import plan


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def generate(recipes: Any, out: Path) -> None:
    build(recipes, out, settings=SETTINGS, show_progress=False, renderer_factory=FakeRenderer)


def seeds(out: Path, config: str | None = None) -> list[int]:
    return list(datasets.load_dataset(str(out), config, split="train")["seed"])


def planned(recipe_: Any) -> list[int]:
    return [row.seed for row in plan(recipe_).rows(0, recipe_.num_images)]


def test_every_config_loads_with_images_and_names(tmp_path: Path) -> None:
    base = recipe(tmp_path, "base")
    domain = recipe(tmp_path, "domain", prompt="a {d} {class}", variables={"d": ["x", "y"]})
    both = combination(tmp_path, "both", ["base", "domain"])
    share = combination(tmp_path, "share", ["base", "domain"], images_per_class=3)
    generate([base, domain, both, share], tmp_path / "out")
    out = str(tmp_path / "out")
    assert datasets.get_dataset_config_names(out) == ["base", "domain", "both", "share"]
    loaded = datasets.load_dataset(out)
    assert list(loaded) == ["train"]
    first = loaded["train"][4]
    assert loaded["train"].features["label"].names == LABELS
    expected = FakeRenderer(base).render(plan(base).rows(4, 5), batch_size=1)[0]
    assert np.array_equal(np.asarray(first["image"]), expected)
    assert (first["label"], first["class"], first["d"]) == (1, "dog", None)
    assert len(datasets.load_dataset(out, "both", split="train")) == 30
    assert len(datasets.load_dataset(out, "share", split="train")) == 9
    streamed = list(datasets.load_dataset(out, "domain", split="train", streaming=True))
    assert [row["seed"] for row in streamed] == planned(domain)
    joined = datasets.concatenate_datasets(
        [datasets.load_dataset(out, name, split="train") for name in ("base", "domain")]
    )
    assert len(joined) == 30


def test_timm_reads_a_dataset(tmp_path: Path) -> None:
    from timm.data import create_dataset

    generate(recipe(tmp_path, "base"), tmp_path / "out")
    read = create_dataset(f"hfds/{tmp_path / 'out'}", root=None, split="train")
    assert len(read) == 15
    image, label = read[4]
    assert (image.size, label) == ((8, 8), 1)
    assert read.reader.class_to_idx == {name: place for place, name in enumerate(LABELS)}


def test_a_grown_dataset_is_read_whole(tmp_path: Path) -> None:
    small, large = (recipe(tmp_path, "base", images_per_class=count) for count in (2, 6))
    generate(small, tmp_path / "out")
    assert seeds(tmp_path / "out") == planned(small)
    generate(large, tmp_path / "out")
    assert seeds(tmp_path / "out") == planned(large)


def test_a_dataset_generated_with_another_seed_is_not_read_from_the_cache(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for seed in (1, 2):
        again = recipe(tmp_path, "base", sampling={"seed": seed})
        generate(again, out)
        assert seeds(out) == planned(again)
        shutil.rmtree(out)


def test_two_datasets_with_the_same_folder_name_are_distinguished(tmp_path: Path) -> None:
    for seed in (1, 2):
        place = tmp_path / f"place-{seed}" / "out"
        generate(recipe(tmp_path, "base", sampling={"seed": seed}), place)
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "place-2/out", tmp_path / "moved/out")
    for place, seed in (("place-1", 1), ("moved", 2)):
        expected = planned(recipe(tmp_path, "base", sampling={"seed": seed}))
        assert seeds(tmp_path / place / "out") == expected


def test_a_union_is_read_again_when_a_member_grows(tmp_path: Path) -> None:
    for count in (2, 4):
        sets = [
            recipe(tmp_path, "base", images_per_class=count),
            recipe(tmp_path, "word", prompt="{class}", images_per_class=2),
        ]
        generate([*sets, combination(tmp_path, "both", ["base", "word"])], tmp_path / "out")
        assert seeds(tmp_path / "out", "both") == [seed for one in sets for seed in planned(one)]
