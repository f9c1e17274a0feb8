"""No file of others becomes far more memory than it has bytes, whatever its format says."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import lzma
import os
import random
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.common.entry import run_main
from factory.common.errors import UserError
from factory.common.thrift import LIST, NUMBERS, STRUCT, TEXT, read_structure
from factory.data.open import open_rows

LARGER = r"its [\d,]+ bytes would become more than [\d,]+ bytes of rows; "
SMALL = pa.table({"x": np.arange(300), "t": ["abc"] * 300})
ZEROS = pa.table({"x": np.zeros(18_000_000, dtype=np.int64)})
WRITERS = {"stream": pa.ipc.new_stream, "file": pa.ipc.new_file}


def arrow(path: Path, table: pa.Table, *, kind: str = "stream", compression: Any = None) -> None:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with WRITERS[kind](str(path), table.schema, options=options) as writer:
        writer.write_table(table)


def read(folder: Path) -> datasets.Dataset:
    return open_rows(str(folder), config_name=None, split=None)[0]  # type: ignore[arg-type]


def carded(folder: Path, text: str) -> None:
    """Write a card that names the files beside it."""
    config = f"- config_name: default\n  data_files: train.*\n{text}"
    (folder / "README.md").write_text(f"---\nconfigs:\n{config}---\n")


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if the library datasets reads rows."""
    for name in ("load_dataset", "load_from_disk"):
        monkeypatch.setattr(datasets, name, lambda *_, **__: pytest.fail("it was read"))


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("compression", ["zstd", "lz4", None])
def test_arrow_files_are_read(kind: str, compression: str | None, tmp_path: Path) -> None:
    arrow(tmp_path / "train.arrow", SMALL, kind=kind, compression=compression)
    assert read(tmp_path)["x"][:3] == [0, 1, 2]


@pytest.mark.parametrize("kind", WRITERS)
def test_compressed_arrow_files_are_measured_without_expanding(
    kind: str, tmp_path: Path, unread: None
) -> None:
    arrow(tmp_path / "train.arrow", ZEROS, kind=kind, compression="zstd")
    with pytest.raises(UserError, match=rf"train\.arrow: {LARGER}"):
        read(tmp_path)


def test_a_saved_dataset_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.Dataset(SMALL).save_to_disk(str(tmp_path))
    assert len(read(tmp_path)) == 300
    arrow(min(tmp_path.glob("*.arrow")), ZEROS, compression="zstd")
    monkeypatch.setattr(datasets, "load_from_disk", lambda *_: pytest.fail("it was read"))
    with pytest.raises(UserError, match=rf"data-00000.*: {LARGER}"):
        read(tmp_path)


def test_rows_without_bytes_are_counted(tmp_path: Path, unread: None) -> None:
    arrow(tmp_path / "train.arrow", pa.table({"x": pa.nulls(10**9)}))
    with pytest.raises(UserError, match=LARGER):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["dictionary", "view"])
def test_values_that_rows_share_are_not_read(kind: str, tmp_path: Path, unread: None) -> None:
    texts = pa.array(["x" * 100] * 9)
    column = texts.dictionary_encode() if kind == "dictionary" else texts.cast(pa.string_view())
    arrow(tmp_path / "train.arrow", pa.table({"x": column}))
    with pytest.raises(UserError, match="rows refer to shared values"):
        read(tmp_path)


def test_rows_that_point_outside_their_file_are_not_read(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({"image": ["a" * 1001, "b" * 1001, "c" * 1001]})
    rows.save_to_disk(str(tmp_path))
    file = min(tmp_path.glob("*.arrow"))
    places = np.arange(4, dtype=np.int32) * 1001
    data = file.read_bytes()
    assert data.count(places.tobytes()) == 1
    moved = np.array([0, 2**31 - 1, 2002, 3003], dtype=np.int32)
    file.write_bytes(data.replace(places.tobytes(), moved.tobytes()))
    with pytest.raises(UserError, match="cannot be loaded as a dataset of `save_to_disk`"):
        read(tmp_path)


@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_arrow_files_are_one_line(kind: str, tmp_path: Path) -> None:
    from factory.common.arrow_bounds import require_bounded_arrow

    path = tmp_path / "train.arrow"
    arrow(path, SMALL, kind=kind, compression="lz4")
    whole, values = path.read_bytes(), random.Random(0)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(values.randint(1, 4)):
            data[values.randrange(len(data))] = values.choice((0, 1, 127, 128, 255))
        path.write_bytes(data[: values.choice((len(data), values.randrange(len(data))))])
        try:
            require_bounded_arrow(path, shown="it")
        except (UserError, ValueError, OSError) as error:
            assert "\n" not in str(error)


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    # An old format, which pandas expands because of the name.
    "XZ": partial(lzma.compress, format=lzma.FORMAT_ALONE),
}


@pytest.mark.parametrize("name", ["train.csv", "train.jsonl", "train.txt"])
@pytest.mark.parametrize("suffix", [*COMPRESSED, "zip"])
def test_compressed_texts_are_not_read(
    name: str, suffix: str, tmp_path: Path, unread: None
) -> None:
    path = tmp_path / f"{name}.{suffix}"
    if suffix == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, b"a\n")
    else:
        path.write_bytes(COMPRESSED[suffix](b"a\n" * 9))
    carded(tmp_path, "")
    with pytest.raises(UserError, match=rf"{name}\.{suffix}: is compressed, and not read; unpack"):
        read(tmp_path)


SPARSE = {
    "train.csv": b",".join(b"c%d" % n for n in range(9000)) + b"\n" + b"1\n" * 9000,
    "train.tsv": b"\t".join(b"c%d" % n for n in range(9000)) + b"\n" + b"1\n" * 9000,
    "train.second.csv": b"c\n" + b"1," * 9000 + b"\n" + b"1\n" * 9000,
    "train.quoted.csv": b",".join(b'"\n%d"' % n for n in range(9000)) + b"\n" + b"1\n" * 9000,
    "train.jsonl": b"".join(b'{"k%d":1}\n' % n for n in range(9000)),
    "train.json": b"[" + b",".join(b'{"k%d" : 1}' % n for n in range(9000)) + b"]",
}


@pytest.mark.parametrize("name", SPARSE)
def test_many_columns_of_many_rows_without_values_are_not_read(
    name: str, tmp_path: Path, unread: None
) -> None:
    (tmp_path / name).write_bytes(SPARSE[name])
    with pytest.raises(UserError, match=rf"{name}: {LARGER}write it again so that every row has"):
        read(tmp_path)


LONG = {
    "list": "  - name: x\n    list: float32\n    length: 1000000\n",
    "inner": "  - name: x\n    list:\n      list: float32\n      length: 1000000\n",
    "array": "  - name: x\n    dtype:\n      array2_d: {shape: [9999, 9999], dtype: float32}\n",
    "bytes": "  - name: x\n    dtype: fixed_size_binary[9000000]\n",
}


@pytest.mark.parametrize("kind", LONG)
def test_missing_values_of_a_declared_length_are_counted(
    kind: str, tmp_path: Path, unread: None
) -> None:
    table = pa.table({"x": pa.array([None] * 500, pa.list_(pa.float32()))})
    pq.write_table(table, tmp_path / "train.parquet")
    carded(tmp_path, f"  features:\n{LONG[kind]}")
    with pytest.raises(UserError, match=rf"{LARGER}declare fewer columns, and shorter lists"):
        read(tmp_path)
    (tmp_path / "train.parquet").unlink()
    (tmp_path / "train.jsonl").write_bytes(b'{"x":null}\n' * 500)
    with pytest.raises(UserError, match=rf"{LARGER}declare fewer columns, and shorter lists"):
        read(tmp_path)


def test_missing_values_of_a_length_in_the_file_are_counted(tmp_path: Path, unread: None) -> None:
    column = pa.nulls(4000, pa.list_(pa.float32(), 9000))
    pq.write_table(pa.table({"x": column}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=LARGER):
        read(tmp_path)


def test_columns_that_only_the_card_has_are_counted(tmp_path: Path, unread: None) -> None:
    (tmp_path / "train.jsonl").write_bytes(b'{"x":1}\n' * 90_000)
    names = "".join(f"  - name: c{n}\n    dtype: int64\n" for n in range(300))
    carded(tmp_path, f"  features:\n  - name: x\n    dtype: int64\n{names}")
    with pytest.raises(UserError, match=rf"{LARGER}declare fewer columns"):
        read(tmp_path)


def test_lists_of_a_declared_length_are_read(tmp_path: Path) -> None:
    rows = [[float(n)] * 768 for n in range(50)]
    table = pa.table({"x": [*rows, None], "box": [[[0.1, 0.2, 0.3, 0.4]] * 3] * 51})
    pq.write_table(table, tmp_path / "train.parquet")
    box = "  - name: box\n    list:\n      list: float32\n      length: 4\n"
    carded(tmp_path, f"  features:\n  - name: x\n    list: float32\n    length: 768\n{box}")
    found = read(tmp_path)
    assert (len(found), found.features["x"].length, found[50]["x"]) == (51, 768, None)


@pytest.mark.parametrize(("separator", "name"), [("\t", "train.tsv"), (";", "train.csv")])
def test_the_separator_of_csv_files_is_known(separator: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(f"prompt{separator}label\na, cat{separator}1\n")
    if separator == ";":
        carded(tmp_path, '  sep: ";"\n')
    assert read(tmp_path)[0] == {"prompt": "a, cat", "label": 1}


@pytest.mark.parametrize("separator", ["(a+)+", "→", "§"])
def test_a_separator_whose_columns_cannot_be_counted_is_refused(
    separator: str, tmp_path: Path
) -> None:
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    carded(tmp_path, f'  sep: "{separator}"\n')
    with pytest.raises(UserError, match=r"separates cells by '.*'; expected one ASCII character"):
        read(tmp_path)


def test_every_file_of_a_format_is_measured_whatever_its_name(tmp_path: Path, unread: None) -> None:
    pq.write_table(SMALL, tmp_path / "train.parquet")
    pq.write_table(ZEROS, tmp_path / "train.gpq", compression="zstd")
    carded(tmp_path, "")
    with pytest.raises(UserError, match=rf"train\.gpq: {LARGER}"):
        read(tmp_path)


@pytest.mark.parametrize("numbers", [(0, 10**12), (1, 2), (0, 2)])
def test_classes_of_a_card_have_the_numbers_of_a_list(
    numbers: tuple[int, int], tmp_path: Path
) -> None:
    pq.write_table(pa.table({"label": [0, 1]}), tmp_path / "train.parquet")
    names = "".join(f"          '{number}': class {number}\n" for number in numbers)
    label = "  - name: label\n    dtype:\n      class_label:\n        names:\n"
    carded(tmp_path, f"  features:\n{label}{names}")
    with pytest.raises(UserError, match=r"its card does not number its classes 0, 1, 2, \.\.\."):
        read(tmp_path)


@pytest.mark.parametrize("name", ["train.jsonl", "train.json", "metadata.jsonl"])
@pytest.mark.parametrize("between", [b"", b"\n"])
def test_deep_json_is_one_line(name: str, between: bytes, tmp_path: Path) -> None:
    """The parser calls itself for each level, and would end the process."""
    (tmp_path / "x.png").write_bytes(b"") if name.startswith("metadata") else None
    opening = b'{"file_name":"x.png","a":' + (b"[" + between) * 50_000
    (tmp_path / name).write_bytes(opening + b"]" * 50_000 + b"}\n")
    with pytest.raises(UserError, match=r"cannot be loaded \(it is nested deeper than 200 levels"):
        read(tmp_path)


def test_texts_in_json_do_not_count_as_structure(tmp_path: Path) -> None:
    text = '[[{{"' * 99 + "\\"
    lines = (json.dumps({"prompt": text, "n": number}) + "\n" for number in range(400))
    (tmp_path / "train.jsonl").write_text("".join(lines))
    assert read(tmp_path)[399] == {"prompt": text, "n": 399}


@pytest.mark.parametrize("end", ["", '"', "\\"])
def test_endless_quotes_in_json_take_little_time(end: str, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"a":"' + '\\"' * 400_000 + end)
    start = time.process_time()
    with pytest.raises(UserError):
        read(tmp_path)
    assert time.process_time() - start < 20


def test_files_are_quoted_in_our_messages_only(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    twice = pa.Table.from_arrays([SMALL["x"]] * 2, names=["a\x1b]0;b\x07"] * 2)
    pq.write_table(twice, tmp_path / "train.parquet")
    with pytest.raises(UserError):
        read(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_long_cell_of_csv_is_read(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(f'prompt,n\n"{"x" * 200_000}",1\n')
    assert read(tmp_path)[0]["n"] == 1


def test_endless_folders_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["data-factory"])
    # One by one: a whole path would be too long for the system.
    with contextlib.chdir(tmp_path):
        for _ in range(1500):
            Path("d").mkdir()
            os.chdir("d")
        Path("x.png").write_bytes(b"")
    try:
        with pytest.raises(UserError, match="has folders below 100 others; move their files up"):
            read(tmp_path)
        with pytest.raises(SystemExit, match="2"):
            run_main(lambda: len(list(tmp_path.rglob("*"))))
        assert capsys.readouterr().err.startswith("a folder has endless folders inside each other")
    finally:
        # pytest's own removal of old folders does not reach the end.
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


_LONG = 140_000_000
_TEN = b"\x14"


def varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        # The size of a page again, as 16 bits, which pyarrow passes over, and as 32 bits.
        (b"\x04\x04" + _TEN, LARGER),
        (b"\x05\x04" + _TEN, "its description has a field twice"),
    ],
    ids=["another type", "twice"],
)
def test_a_page_that_says_its_size_twice_is_refused(
    field: bytes, reason: str, tmp_path: Path, unread: None
) -> None:
    """pyarrow would read all of it."""
    table = pa.table({"a": pa.array([b"x" * _LONG], pa.binary())})
    path = tmp_path / "train.parquet"
    pq.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)
    data, column = path.read_bytes(), pq.read_metadata(path).row_group(0).column(0)
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    end = column.data_page_offset + read_structure(data[column.data_page_offset :], {})[1] - 1
    stored = column.total_compressed_size
    old, new = varint(2 * stored), varint(2 * (stored + len(field)))
    assert len(old) == len(new)
    footer = data[start:-8].replace(old, new)
    path.write_bytes(data[:end] + field + data[end:start] + footer + data[-8:])
    with pytest.raises(UserError, match=reason):
        read(tmp_path)


@pytest.mark.parametrize("lists", [{2: ((STRUCT,), {})}, {2: ((TEXT,), {})}])
def test_a_list_of_another_type_than_declared_is_refused(lists: Any) -> None:
    """pyarrow would take its items for what is declared, and so all that follows."""
    text = b"\x29\x15\x02\x00"
    assert read_structure(text, {2: (NUMBERS, {})}) == ({(2, LIST): [1]}, 4)
    with pytest.raises(ValueError, match="a list of type 5"):
        read_structure(text, lists)
