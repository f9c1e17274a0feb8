"""Datasets of many shards, made in seconds: all shards are names of one file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from . import parts

_SHARD = 10


def make_complete(out: Path, shards: int) -> None:
    """Make a finished dataset of ten images per shard."""
    _make(out, shards, complete=True)


def make_incomplete(out: Path, shards: int) -> None:
    """Make the directory of a build that stopped before its last shard."""
    _make(out, shards, complete=False)


def _make(out: Path, shards: int, *, complete: bool) -> None:
    from factory.builder.build import build
    from factory.card.reader_files import publish
    from factory.shards.generations import newest, replace
    from factory.shards.layout import first_name
    from factory.shards.settings import BuildSettings

    settings = BuildSettings(batch_size=_SHARD, shard_size=_SHARD, dtype="float32", device="cpu")
    build(
        parts.recipe(out.with_name(f"{out.name}-recipe"), _SHARD),
        out,
        settings=settings,
        show_progress=False,
        renderer_factory=parts.ReadyRenderer,
    )
    now = newest(out)
    manifest = now.written
    entry = manifest.configs["base"]
    (first,) = entry.shards
    images = shards * _SHARD
    larger = {"images": images, "images_per_class": images // len(parts.CLASSES)}
    planned = _with_entry(manifest, entry.model_copy(update={**larger, "shards": ()}))
    files = [first_name(planned, "base", number) for number in range(shards)]
    for file in files[: shards if complete else shards - 1]:
        if not (out / file).exists():
            os.link(out / first.file, out / file)
    listed = tuple(first.model_copy(update={"file": file}) for file in files) if complete else ()
    changes = {**larger, "shards": listed, "complete": complete}
    made = replace(out, now, _with_entry(manifest, entry.model_copy(update=changes)), recipes={})
    assert made is not None
    publish(out, card=complete, now=made)


def _with_entry(manifest: Any, entry: Any) -> Any:
    return manifest.model_copy(update={"configs": {"base": entry}})


def open_for_training(out: str, cache: str) -> int:
    """Open the dataset as `train` does; return the number of rows."""
    os.environ["HF_HOME"] = cache
    from factory.data.open import open_dataset

    return len(open_dataset(out).dataset)


def load_by_name(out: str, cache: str) -> int:
    """Call `load_dataset(OUT)`."""
    from datasets import load_dataset

    return len(load_dataset(out, cache_dir=cache, split="train"))


def load_parquet(out: str, cache: str) -> int:
    """Call `load_dataset("parquet")` with a pattern."""
    from datasets import load_dataset

    files = f"{out}/data/base/*.parquet"
    return len(load_dataset("parquet", data_files=files, cache_dir=cache, split="train"))
