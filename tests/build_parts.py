"""Shared helpers for tests of `build`: write and load recipes, and a renderer without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import yaml

from factory.common.image_arrays import ImageArray
from factory.common.local_paths import COSTS
from factory.planner.plan import ImageSpec
from factory.recipe.library import load_recipe
from factory.recipe.resolved import ResolvedRecipe
from factory.shards.generations import FOLDER
from factory.shards.layout import file_at
from factory.shards.manifest import read_manifest
from factory.shards.settings import BuildSettings

SETTINGS = BuildSettings(batch_size=4, shard_size=8, dtype="float32")
LABELS = ["cat", "dog", "ship"]


def recipe(folder: Path, name: str, **keys: Any) -> ResolvedRecipe:
    """Write a small recipe and load it; `keys` replace its values."""
    text: dict[str, Any] = {
        "name": name,
        "classes": LABELS,
        "images_per_class": 5,
        "prompt": "a {class}",
        "sampling": {"guidance_scale": {"uniform": [1, 5]}, "num_inference_steps": 2},
        "model": {"id": "tests/none", "revision": "0" * 40},
        "output": {"size": 8},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(text | keys, sort_keys=False))
    return load_recipe(str(path))


def combination(folder: Path, name: str, members: list[str], **keys: Any) -> ResolvedRecipe:
    """Write and load a combination of the recipes in `folder`."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name, "combine": members} | keys))
    return load_recipe(str(path))


class FakeRenderer:
    """Generates noise from the seed and counts calls; an image depends on its row alone."""

    calls = 0
    uses_torch = False

    def __init__(self, recipe: ResolvedRecipe) -> None:
        self.recipe = recipe

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[ImageArray]:
        assert 0 < len(rows) <= batch_size
        FakeRenderer.calls += 1
        height, width = self.recipe.output.size or (8, 8)
        return [
            np.random.default_rng(row.seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
            for row in rows
        ]


def tree(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under a folder, by relative path.

    Generations and costs are excluded: they depend on the dataset's history, and on time.
    """
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {FOLDER, COSTS} & set(path.relative_to(folder).parts)
    }


def shards_of(files: dict[str, str]) -> dict[tuple[str, ...], str]:
    """Return the SHA-256 of each shard by config and number, from the result of `tree`.

    Names of shards that got new columns contain the generation in which they got them.
    """
    shards = [(PurePath(name), digest) for name, digest in files.items() if "parquet" in name]
    found = {(path.parent.name, path.name[:11]): digest for path, digest in shards}
    assert len(found) == len(shards), "each number has one file"
    return found


def shard(out: Path, config: str = "base", index: int = 0) -> Path:
    """Return the path of a shard listed in the dataset's manifest."""
    manifest = read_manifest(out)
    assert manifest is not None
    return out / file_at(manifest, config, index)


def shard_hashes(out: Path) -> dict[str, list[str]]:
    """Return the SHA-256 of every shard by config, in order, without file names."""
    manifest = read_manifest(out)
    assert manifest is not None
    return {
        name: [hashlib.sha256((out / one.file).read_bytes()).hexdigest() for one in entry.shards]
        for name, entry in manifest.configs.items()
    }
