"""The card: a header that the Hub's own parser takes, and a body that tells what the set is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from build_parts import SETTINGS, FakeRenderer, combination, recipe
from huggingface_hub import DatasetCard

from factory.builder import build


def draw(recipes: Any, out: Path) -> DatasetCard:
    build(recipes, out, settings=SETTINGS, show_progress=False, renderer_factory=FakeRenderer)
    return DatasetCard.load(out / "README.md")


@pytest.fixture
def card(tmp_path: Path) -> DatasetCard:
    base = recipe(tmp_path, "zebra", summary="Plain | simple", source="section 3.1")
    domain = recipe(
        tmp_path,
        "domain",
        prompt=[{"text": "a {d} of a {class}", "weight": 3}, "{class}"],
        variables={"d": ["photo", "sketch"]},
    )
    both = combination(tmp_path, "all", ["zebra", "domain"])
    return draw([base, domain, both], tmp_path / "out")


def test_the_header_lists_sets_before_combinations(card: DatasetCard) -> None:
    configs = card.data.to_dict()["configs"]
    assert [one["config_name"] for one in configs] == ["domain", "zebra", "all"]
    assert [one.get("default") for one in configs] == [True, None, None]
    paths = [one["data_files"][0]["path"] for one in configs]
    assert paths[0] == "data/domain/train-*.parquet"
    assert paths[2] == ["data/zebra/train-*.parquet", "data/domain/train-*.parquet"]
    assert len({one["description"] for one in configs}) == 3
    assert card.data.task_categories == ["image-classification"]
    assert card.data.size_categories == ["n<1K"]


def test_the_body_tells_counts_prompts_and_provenance(card: DatasetCard) -> None:
    text = card.text
    assert "# Synthetic images: cat, dog, ship\n" in text
    assert "30 images, 3 classes, 3 configs." in text
    assert "| `zebra` | 15 | 5 | a {class} | uniform from 1 to 5 | always 2 |" in text
    assert "| `all` | 30 | 10 |" in text
    assert "a {d} of a {class} (75%); {class} (25%)" in text
    assert "| `domain` | d | one of 'photo', 'sketch' |" in text
    assert "| `zebra` | tests/none | " + "0" * 40 in text
    assert "batch_size 4, shard_size 8, dtype " in text
    assert "300 calls" not in text
    assert "60 calls of the network for 15 images" not in text
    assert "Plain \\| simple (after section 3.1)" in text


def test_the_fingerprint_follows_the_shards(tmp_path: Path) -> None:
    def fingerprint(count: int) -> str:
        sized = recipe(tmp_path, "base", images_per_class=count)
        configs = draw(sized, tmp_path / "out").data.to_dict()["configs"]
        return str(configs[0]["description"])

    first = fingerprint(2)
    assert fingerprint(2) == first
    assert fingerprint(3) != first


def test_a_card_does_not_depend_on_where_the_set_lies(tmp_path: Path) -> None:
    draw(recipe(tmp_path, "base"), tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    before = (tmp_path / "two/README.md").read_bytes()
    draw(recipe(tmp_path, "base"), tmp_path / "two")
    assert (tmp_path / "two/README.md").read_bytes() == before
