"""What the tests of `build` share: recipes written and loaded, a renderer that costs nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import yaml

from factory.common.pictures import Picture
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
    """Write a small recipe and load it; `keys` replace what it says."""
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
    """Write a combination of recipes that lie in `folder` and load it."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name, "combine": members} | keys))
    return load_recipe(str(path))


class FakeRenderer:
    """Draws noise from the seed and counts the calls; a picture depends on its row alone."""

    calls = 0

    def __init__(self, recipe: ResolvedRecipe) -> None:
        self.recipe = recipe

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[Picture]:
        assert 0 < len(rows) <= batch_size
        FakeRenderer.calls += 1
        height, width = self.recipe.output.size or (8, 8)
        return [
            np.random.default_rng(row.seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
            for row in rows
        ]


def tree(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under a folder, by relative path.

    The generations of a dataset are left out: their number tells its history.
    """
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and FOLDER not in path.relative_to(folder).parts
    }


def shards_of(files: dict[str, str]) -> dict[tuple[str, ...], str]:
    """Return the SHA-256 of each shard by config and number, from what `tree` gives.

    Names of shards that got new columns tell the generation in which they got them.
    """
    shards = [(PurePath(name), digest) for name, digest in files.items() if "parquet" in name]
    found = {(path.parent.name, path.name[:11]): digest for path, digest in shards}
    assert len(found) == len(shards), "each number has one file"
    return found


def shard(out: Path, config: str = "base", index: int = 0) -> Path:
    """Return the path of a shard, as the dataset's manifest names it."""
    manifest = read_manifest(out)
    assert manifest is not None
    return out / file_at(manifest, config, index)


def shard_hashes(out: Path) -> dict[str, list[str]]:
    """Return the SHA-256 of every shard by config, in order, whatever the files' names."""
    manifest = read_manifest(out)
    assert manifest is not None
    return {
        name: [hashlib.sha256((out / one.file).read_bytes()).hexdigest() for one in entry.shards]
        for name, entry in manifest.configs.items()
    }
