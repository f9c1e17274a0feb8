"""Datasets that the tests of the Hub publish, generated without a model."""

from __future__ import annotations

from pathlib import Path

from build_parts import SETTINGS, FakeRenderer, combination, recipe

from factory.builder.build import build
from factory.shards.settings import BuildSettings


def small_set(folder: Path, *, per_class: int = 5) -> Path:
    """Generate three configs, one of them a union: 30 images in 4 shards with 5 per class."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = {"images_per_class": per_class}
    recipes = [
        recipe(folder, "base", **keys),
        recipe(folder, "domain", prompt="a {d} {class}", variables={"d": ["x", "y"]}, **keys),
        combination(folder, "both", ["base", "domain"]),
    ]
    _build(recipes, folder / "out", SETTINGS)
    return folder / "out"


def large_set(folder: Path) -> Path:
    """Generate four configs, 1,410 images of 8 pixels in their shards."""
    folder.mkdir(parents=True, exist_ok=True)
    recipes = [
        recipe(folder, "base-class", images_per_class=150),
        recipe(
            folder,
            "multi-domain",
            prompt="a {domain} of a {class}",
            variables={"domain": ["photo", "drawing"]},
            images_per_class=200,
        ),
        combination(folder, "everything", ["base-class", "multi-domain"]),
        combination(folder, "share", ["base-class", "multi-domain"], images_per_class=120),
    ]
    _build(recipes, folder / "out", BuildSettings(batch_size=32, shard_size=192))
    return folder / "out"


def _build(recipes: object, out: Path, settings: BuildSettings) -> None:
    build(recipes, out, settings=settings, show_progress=False, renderer_factory=FakeRenderer)
