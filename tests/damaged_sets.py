"""Ways to damage a dataset, for tests of the commands that detect damage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from factory.common.whole_files import sha256
from factory.data.columns import arrow_schema
from factory.shards.manifest import Manifest, read_manifest
from factory.shards.parquet import read_rows, write_shard
from factory.shards.stamp import read_stamp


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path, position: int) -> None:
    """Flip one bit of a file; `position` counts bits."""
    data = bytearray(path.read_bytes())
    data[position // 8] ^= 1 << position % 8
    path.write_bytes(data)


def swap(one: Path, other: Path) -> None:
    spare = one.with_name("spare")
    one.rename(spare)
    other.rename(one)
    spare.rename(other)


def manifest_of(out: Path) -> Manifest:
    found = read_manifest(out)
    assert found is not None
    return found


def replace(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def restamp(path: Path, rows: list[dict[str, Any]], schema: Any) -> None:
    """Write other rows or columns into a shard, with a matching stamp."""
    stamp = read_stamp(path)
    assert stamp is not None
    path.unlink()
    write_shard(path, rows, schema=schema, stamp=stamp)


def rewrite(
    out: Path, file: str, change: Callable[[list[dict[str, Any]]], Any], *, relist: bool = True
) -> None:
    """Change the rows of a shard and, as a forger would, its hash in manifest and card."""
    found = manifest_of(out)
    rows = read_rows(out / file)
    rows = change(rows) or rows
    restamp(out / file, rows, arrow_schema(found.labels, found.variables))
    if relist:
        before = next(s for one in found.configs.values() for s in one.shards if s.file == file)
        text = (out / "manifest.json").read_text()
        (out / "manifest.json").write_text(text.replace(before.sha256, sha256(out / file)))
