"""Shards: complete or absent, and the same bytes for the same rows."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from factory.card.header import feature_list
from factory.common.image_bytes import load_image
from factory.common.storage import write_bytes, write_text
from factory.data.columns import arrow_schema, features, value_types
from factory.recipe.schema import Output
from factory.shards.manifest import FailedImage
from factory.shards.parquet import (
    encode_image,
    list_shards,
    num_rows,
    parquet_file,
    read_rows,
    shard_count,
    shard_rows,
    write_shard,
)
from factory.shards.png import _chunk, _file, small_png_size
from factory.shards.stamp import Stamp, inspect, num_failed, read_stamp

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
STAMP = Stamp(config="c", fingerprint="f", settings={"batch_size": 4}, start=0, stop=2)
FILE = "data/c/train-00000-0123456789ab.parquet"
TYPES = {"d": "string", "n": "float64"}
SCHEMA = arrow_schema(["cat", "dog"], TYPES)


def row(index: int) -> dict[str, Any]:
    return {
        "image": {"bytes": encode_image(IMAGE, Output()), "path": None},
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


def test_missing_columns_are_read_as_null(tmp_path: Path) -> None:
    path = tmp_path / FILE
    entry = write_shard(path, [row(0), row(1)], schema=SCHEMA, stamp=STAMP)
    assert entry is not None
    assert (entry.file, entry.rows) == (FILE, 2)
    assert entry.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_rows(path) == [row(0) | {"n": None}, row(1) | {"n": None}]
    assert num_rows(path) == 2
    assert inspect(path).columns == tuple(SCHEMA.names)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        path = tmp_path / name / "x.parquet"
        write_shard(path, [row(0), row(1)], schema=SCHEMA, stamp=STAMP)
    assert (tmp_path / "a/x.parquet").read_bytes() == (tmp_path / "b/x.parquet").read_bytes()


def test_a_shard_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "c/x.parquet", [row(0)], schema=SCHEMA, stamp=STAMP)
    assert not list((tmp_path / "c").iterdir())


def test_an_interrupted_text_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "t", "old")

    def no_rename(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_rename)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "t", "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    "output", [Output(), Output(compression="fast"), Output(format="webp")], ids=str
)
def test_lossless_formats_keep_every_pixel(output: Output) -> None:
    encoded = encode_image(IMAGE, output)
    assert encoded == encode_image(IMAGE, output)
    opened = Image.open(io.BytesIO(encoded))
    assert opened.format == output.format.upper()
    assert np.array_equal(np.asarray(opened.convert("RGB")), IMAGE)


@pytest.mark.parametrize("size", [8, 200])
def test_fast_files_are_those_of_run_lengths(size: int) -> None:
    # Two colours in turn: a search for repeated strings finds them, run lengths do not.
    image = np.full((size, size, 3), 7, dtype=np.uint8)
    image[:, ::2] = 250
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png", compress_type=zlib.Z_RLE)
    assert encode_image(image, Output(compression="fast")) == buffer.getvalue()
    assert encode_image(image, Output()) != buffer.getvalue()


def test_jpeg_is_close() -> None:
    smooth = np.full((16, 16, 3), 120, dtype=np.uint8)
    opened = Image.open(io.BytesIO(encode_image(smooth, Output(format="jpeg"))))
    assert opened.format == "JPEG"
    assert np.abs(np.asarray(opened).astype(int) - 120).max() <= 3


def test_every_image_is_in_one_shard() -> None:
    for num_images in (1, 7, 8, 9, 24):
        count = shard_count(num_images, shard_size=8)
        ranges = [shard_rows(k, num_images=num_images, shard_size=8) for k in range(count)]
        assert [index for one in ranges for index in one] == list(range(num_images))


def test_only_shards_are_listed(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "c"
    folder.mkdir(parents=True)
    for name in (
        "train-00001-0123456789ab.parquet",
        "train-00000-of-00002.parquet",
        ".writing-7-train-00001-0123456789ab.parquet",
        "notes.txt",
    ):
        (folder / name).touch()
    assert [one.index for one in list_shards(tmp_path, "c")] == [0, 1]
    assert list_shards(tmp_path, "absent") == []


def test_a_shard_knows_when_any_bit_of_it_changes(tmp_path: Path) -> None:
    path = tmp_path / FILE
    write_shard(path, [row(0), row(1)], schema=SCHEMA, stamp=STAMP)
    found = inspect(path)
    assert (found.fault, found.rows) == (None, 2)
    assert found.stamp is not None
    assert found.stamp.is_of(STAMP)
    assert found.stamp == read_stamp(path)
    data = path.read_bytes()
    random = np.random.default_rng(0)
    # Every bit of the last bytes, where Parquet keeps what it needs to read a file at all.
    bits = [*random.integers(0, 8 * len(data), 300), *range(8 * (len(data) - 40), 8 * len(data))]
    for bit in bits:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(flipped)
        found = inspect(path)
        assert found.fault or found.stamp is None, bit
    for size in [0, 3, 11, 100, len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:size])
        assert inspect(path).fault, size


def test_existing_shards_are_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x"
    assert write_bytes(path, b"first", exclusive=True)
    assert not write_bytes(path, b"second", exclusive=True)
    assert [(one.name, one.read_bytes()) for one in path.parent.iterdir()] == [("x", b"first")]
    assert write_bytes(path, b"third")
    assert path.read_bytes() == b"third"


def test_a_file_system_without_hard_links_is_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(self: Path, target: Path) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    assert write_bytes(tmp_path / "x", b"first", exclusive=True)
    assert not write_bytes(tmp_path / "x", b"second", exclusive=True)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("x", b"first")]


def test_the_schema_is_the_one_that_datasets_makes() -> None:
    from datasets import ClassLabel, Features, Image, Value

    labels, types = ["cat", 'a "dög"\n'], TYPES | {"b": "bool", "a": "int64"}
    values = {name: Value(kind) for name, kind in value_types(types).items()}
    found = Features({"image": Image(), "label": ClassLabel(names=labels), **values})
    assert arrow_schema(labels, types).equals(found.arrow_schema, check_metadata=True)
    assert features(labels, types) == found
    assert feature_list(labels, types) == found._to_yaml_list()


@pytest.mark.parametrize(
    "shape",
    [(1, 1), (32, 32), (3, 200), (141, 141), (142, 142), (200, 300), (19_999, 1), (9_999, 2)],
)
@pytest.mark.parametrize("noise", [1, 256])
def test_a_png_has_the_bytes_that_pillow_saves(shape: tuple[int, int], noise: int) -> None:
    image = np.random.default_rng(1).integers(0, noise, (*shape, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png", compress_level=6)
    assert encode_image(image, Output()) == buffer.getvalue()


@pytest.mark.parametrize("prompt", ["p", "\x18\x07factory\x18\x02{}"])
def test_failed_images_are_counted_from_the_footer(tmp_path: Path, prompt: str) -> None:
    lost = FailedImage(index=1, label=1, reason="black", attempts=4)
    for failed in ((), (lost,)):
        path = tmp_path / f"{len(failed)}.parquet"
        stamp = STAMP.model_copy(update={"failed": failed})
        write_shard(path, [row(0) | {"prompt": prompt}], schema=SCHEMA, stamp=stamp)
        assert num_failed(path) == len(failed) == len(read_stamp(path).failed)


def changed_pngs(data: bytes) -> Iterator[bytes]:
    """Yield damaged versions of a PNG, then such whose checksums are right, and longer ones."""
    for place in range(len(data)):
        yield data[:place]
        yield from (
            data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :] for bit in (1, 8, 128)
        )
    yield data + b"x"
    packed = data[41:-16]
    rows = zlib.decompress(packed)
    other = [zlib.compress(one) for one in (b"\5" + rows[1:], rows[:-1], rows + b"x", b"")]
    other += [packed[:-1], packed + b"x", packed[:-1] + bytes([packed[-1] ^ 1])]
    other += [packed[:place] + b"\xff" + packed[place + 1 :] for place in range(len(packed))]
    yield from (_file(6, 8, one) for one in other)
    yield from (_file(*size, packed) for size in ((8, 6), (0, 8), (6, 0), (0, 0), (2**31, 8)))
    yield data[:33] + _chunk(b"tRNS", b"\0" * 6) + data[33:]


def test_a_png_that_pillow_would_refuse_is_never_accepted() -> None:
    data = encode_image(IMAGE, Output())
    assert small_png_size(data) == (6, 8)
    for one in changed_pngs(data):
        if small_png_size(one) is not None:
            found = load_image(one)
            assert (found.format, found.mode, found.size) == ("PNG", "RGB", small_png_size(one))


def test_only_the_png_files_of_builds_are_judged_without_pillow() -> None:
    pixels = Image.fromarray(IMAGE)
    for mode in ("L", "P", "RGBA", "1", "I;16"):
        buffer = io.BytesIO()
        pixels.convert("L" if mode == "I;16" else mode).convert(mode).save(buffer, format="png")
        assert small_png_size(buffer.getvalue()) is None, mode
    for kind in ("webp", "jpeg"):
        assert small_png_size(encode_image(IMAGE, Output(format=kind))) is None


def test_values_of_numpy_are_written_and_those_of_another_type_are_refused() -> None:
    """Gates of others return what their library computes."""
    schema = arrow_schema(["cat", "dog"], {"b": "bool", "i": "int64", "n": "float64"})
    plain = row(0) | {"b": True, "i": 3, "n": 0.5}
    same = row(0) | {"b": np.True_, "i": np.int64(3), "n": np.float64(0.5)}
    expected = parquet_file([plain], schema=schema, stamp=STAMP)
    assert parquet_file([same], schema=schema, stamp=STAMP) == expected
    for wrong in ({"b": 1}, {"i": True}, {"i": "3"}, {"i": 2**63}, {"n": "1"}, {"prompt": 1}):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            parquet_file([plain | wrong], schema=schema, stamp=STAMP)


def test_datasets_reads_a_shard_as_one_of_its_own(tmp_path: Path) -> None:
    import datasets
    import pyarrow.parquet

    path, own = tmp_path / FILE, tmp_path / "own.parquet"
    rows = [row(0), row(1)]
    write_shard(path, rows, schema=SCHEMA, stamp=STAMP)
    found = features(["cat", "dog"], TYPES)
    columns = {name: [one.get(name) for one in rows] for name in found}
    datasets.Dataset.from_dict(columns, features=found).to_parquet(own)
    assert datasets.Dataset.from_parquet(str(path), cache_dir=tmp_path).features == found
    ours, theirs = (pyarrow.parquet.read_metadata(one) for one in (path, own))
    assert ours.schema.equals(theirs.schema)
    for place in range(ours.num_columns):
        for name in ("compression", "encodings", "path_in_schema"):
            values = [getattr(one.row_group(0).column(place), name) for one in (ours, theirs)]
            assert values[0] == values[1]
