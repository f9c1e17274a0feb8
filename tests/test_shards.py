"""Shards: whole or absent, the same bytes for the same rows."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from factory.recipe_file import Output
from factory.schema import features
from factory.shards import (
    column_names,
    encode_picture,
    list_shards,
    num_rows,
    read_rows,
    shard_count,
    shard_path,
    shard_rows,
    write_shard,
    write_text,
)

PICTURE = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
FEATURES = features(["cat", "dog"], {"d": "string", "n": "float64"})


def row(index: int) -> dict[str, Any]:
    return {
        "image": {"bytes": encode_picture(PICTURE, Output()), "path": None},
        "label": index % 2,
        "class": "cat",
        "recipe": "r",
        "prompt": "p",
        "negative_prompt": "",
        "guidance_scale": 1.5,
        "num_inference_steps": 3,
        "seed": 2**62,
        "index": index,
        "attempt": 0,
        "d": "x",
    }


def test_rows_come_back_with_nulls_for_what_they_lack(tmp_path: Path) -> None:
    path = shard_path(tmp_path, "c", index=0, total=1)
    write_shard(path, [row(0), row(1)], features=FEATURES)
    assert read_rows(path) == [row(0) | {"n": None}, row(1) | {"n": None}]
    assert read_rows(path, start=1) == [row(1) | {"n": None}]
    assert num_rows(path) == 2
    assert column_names(path) == list(FEATURES)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shard(tmp_path / name / "x.parquet", [row(0), row(1)], features=FEATURES)
    assert (tmp_path / "a/x.parquet").read_bytes() == (tmp_path / "b/x.parquet").read_bytes()


def test_a_shard_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import Dataset

    def half(self: Any, file: io.BufferedWriter) -> None:
        file.write(b"PAR1")
        raise KeyboardInterrupt

    monkeypatch.setattr(Dataset, "to_parquet", half)
    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "c/x.parquet", [row(0)], features=FEATURES)
    assert not list((tmp_path / "c").iterdir())


def test_an_interrupted_text_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "t", "old")

    def no_rename(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", no_rename)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "t", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    encoded = encode_picture(PICTURE, Output(format=kind))
    assert encoded == encode_picture(PICTURE, Output(format=kind))
    opened = Image.open(io.BytesIO(encoded))
    assert opened.format == kind.upper()
    assert np.array_equal(np.asarray(opened.convert("RGB")), PICTURE)


def test_jpeg_is_close() -> None:
    smooth = np.full((16, 16, 3), 120, dtype=np.uint8)
    opened = Image.open(io.BytesIO(encode_picture(smooth, Output(format="jpeg"))))
    assert opened.format == "JPEG"
    assert np.abs(np.asarray(opened).astype(int) - 120).max() <= 3


def test_every_image_lies_in_one_shard() -> None:
    for num_images in (1, 7, 8, 9, 24):
        count = shard_count(num_images, shard_size=8)
        ranges = [shard_rows(k, num_images=num_images, shard_size=8) for k in range(count)]
        assert [index for one in ranges for index in one] == list(range(num_images))


def test_only_shards_are_listed(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "c"
    folder.mkdir(parents=True)
    for name in (
        "train-00001-of-00002.parquet",
        "train-00000-of-00002.parquet",
        ".writing-7-train-00001-of-00002.parquet",
        "notes.txt",
    ):
        (folder / name).touch()
    assert [(one.index, one.total) for one in list_shards(tmp_path, "c")] == [(0, 2), (1, 2)]
    assert list_shards(tmp_path, "absent") == []
