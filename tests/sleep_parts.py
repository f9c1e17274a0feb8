"""Shared helpers for tests of suspended launches: launches that change one dataset."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from build_parts import SETTINGS, FakeRenderer, recipe, shard

from factory.builder.build import build
from factory.builder.tidy import tidy
from factory.card import images as card_images
from factory.card import plots_ahead
from factory.common.storage import AnyPath, open_path, write_bytes
from factory.data.columns import arrow_schema
from factory.gates.duplicates import NearDuplicates
from factory.gates.run import run_gates
from factory.recipe.library import load_recipe
from factory.recipe.resolved import ResolvedRecipe
from factory.shards.manifest import read_manifest
from factory.shards.parquet import read_rows, write_shard
from factory.shards.stamp import inspect, read_stamp


def quick(change: Callable[[Any, str, Any], None] = setattr) -> None:
    """Leave slow plots out of cards; `change` sets attributes."""
    change(card_images, "plot_distributions", lambda recipes: b"plots")
    change(plots_ahead, "cores_per_process", lambda: 1)


_launches = itertools.count()


class Signed(FakeRenderer):
    """Generates other images in each launch, so that an image generated twice is detected."""

    def __init__(self, recipe: ResolvedRecipe, *, launch: int) -> None:
        super().__init__(recipe)
        self._mark = np.uint8((os.getpid() + 100 * launch) % 251)

    def render(self, rows: Sequence[Any], *, batch_size: int) -> Any:
        return [image ^ self._mark for image in super().render(rows, batch_size=batch_size)]


def generate(folder: Path, out: str | Path, *names: str) -> None:
    """Build recipes of a folder."""
    build(
        [load_recipe(folder / f"{name}.yaml") for name in names],
        out,
        settings=SETTINGS,
        show_progress=False,
        renderer_factory=partial(Signed, launch=next(_launches)),
    )


def damage(out: AnyPath) -> None:
    """Cut a shard's file short."""
    path = shard(out)
    write_bytes(path, path.read_bytes()[:-9])


def leave_over(out: AnyPath) -> None:
    """Write a shard that no manifest lists, under a name that no build uses."""
    found = read_manifest(out)
    assert found is not None
    path = shard(out, index=1)
    stamp = read_stamp(path)
    assert stamp is not None
    other = path.with_name("train-00001-0123456789ab.parquet")
    schema = arrow_schema(found.labels, found.variables)
    write_shard(other, read_rows(path), schema=schema, stamp=stamp)


def leave_planned(folder: Path, out: Path) -> None:
    """Write the shards of stopped builds, under names that another build uses."""
    for number, change in enumerate((grow_more, CHANGES["adds another column"])):
        work = folder / f"stopped-{number}"
        shutil.copytree(folder, work, ignore=shutil.ignore_patterns("stopped-*"))
        shutil.copytree(out, work / "out")
        change(work, work / "out")
        for path in (work / "out/data/base").iterdir():
            if not (out / "data/base" / path.name).exists():
                shutil.copy(path, out / "data/base")


def finish(folder: Path, out: str | Path) -> None:
    generate(folder, out, "base")


def repair(folder: Path, out: str | Path) -> None:
    finish(folder, out)
    damage(open_path(out))
    finish(folder, out)


def gate(folder: Path, out: str | Path) -> None:
    run_gates(Path(out), [NearDuplicates()], show_progress=False)


def grow(folder: Path, out: str | Path) -> None:
    recipe(folder, "base", images_per_class=8)
    generate(folder, out, "base")


def grow_more(folder: Path, out: str | Path) -> None:
    recipe(folder, "base", images_per_class=10)
    generate(folder, out, "base")


CHANGES: dict[str, Callable[[Path, Any], Any]] = {
    "finishes": finish,
    "grows": grow,
    "grows more": grow_more,
    "adds a column": lambda folder, out: generate(folder, out, "word"),
    "adds another column": lambda folder, out: generate(folder, out, "tone"),
    "repairs": repair,
    "gates": gate,
    "tidies": lambda folder, out: tidy(open_path(out), delete=True),
}
SLEEPERS = {
    name: CHANGES[name] for name in ("finishes", "grows", "adds a column", "gates", "tidies")
} | {"repairs": finish}
OTHERS = ("grows more", "adds another column", "finishes", "repairs", "gates", "tidies")


def ready(folder: Path, out: str | Path, sleeper: str) -> None:
    """Write the recipes of both launches, and the dataset that a launch changes."""
    folder.mkdir(parents=True)
    recipe(folder, "base")
    recipe(folder, "word", prompt="a {d} {class}", variables={"d": ["x", "y"]})
    recipe(folder, "tone", prompt="a {t} {class}", variables={"t": ["x", "y"]})
    if sleeper != "finishes":
        generate(folder, out, "base")
    if sleeper == "tidies":
        leave_over(open_path(out))
        if "://" not in str(out):
            leave_planned(folder, Path(out))
    if sleeper == "repairs":
        damage(open_path(out))


def images(out: str | Path) -> dict[tuple[str, int], bytes]:
    """Return the encoded images listed by a dataset, by config and index; complete shards only."""
    place = open_path(out)
    found = read_manifest(place)
    entries = found.configs.items() if found is not None else ()
    return {
        (name, row["index"]): row["image"]["bytes"]
        for name, entry in entries
        for one in entry.shards
        if inspect(place / one.file).fault is None
        for row in read_rows(place / one.file)
    }
