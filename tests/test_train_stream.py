"""Training on a dataset of the Hub whose images are read over the network, not downloaded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets as hf
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hub_parts import ORG, run_factory, run_python
from localhub import LocalHub
from PIL import Image
from safetensors.torch import load_file
from test_train_interrupted import interrupt_at

from factory.common.errors import Failure, UserError
from factory.common.remote_parquet import RemoteParquet
from factory.common.stop_signals import Stopped
from factory.data.image_stream import ImageStream
from factory.data.open import OpenedDataset
from factory.hub.ids import parse_target
from factory.hub.ranges import read_range
from factory.hub.session import HubSession
from train.data import epoch_batches, part_of_rank
from train.image_files import PixelsFromFiles, load_stream
from train.run import TrainOptions, train
from train.settings import Hyperparameters
from train.streaming import read_ahead

NUM_ROWS, GROUP = 22, 4
VALUES = Hyperparameters(
    epochs=1, batch_size=4, lr=0.1, image_size=16, mean=(0.5,) * 3, std=(0.25,) * 3
)
FEATURES = hf.Features(
    {
        "image": hf.Image(),
        "label": hf.ClassLabel(names=["cat", "dog"]),
        "score": hf.Value("float64"),
    }
)


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (10 * number, 200 if number % 2 else 20, 90)).save(buffer, "png")
    return buffer.getvalue()


def write_files(folder: Path) -> list[Path]:
    """Write two Parquet files of 12 and 10 images, in row groups of 4."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"train-{number}.parquet" for number in range(2)]
    for path, rows in zip(paths, (range(12), range(12, NUM_ROWS)), strict=True):
        columns: dict[str, list[Any]] = {
            "image": [{"bytes": png(row), "path": None} for row in rows],
            "label": [row % 2 for row in rows],
            "score": [row / NUM_ROWS for row in rows],
        }
        schema = FEATURES.arrow_schema
        pq.write_table(pa.table(columns, schema=schema), path, row_group_size=GROUP)
    return paths


class Reads:
    """Reads parts of a file, and remembers which."""

    def __init__(self, path: Path) -> None:
        self.path, self.ranges = path, list[tuple[int, int]]()

    def __call__(self, start: int, stop: int) -> bytes:
        self.ranges.append((start, stop))
        return self.path.read_bytes()[start:stop]


def remote(path: Path) -> tuple[RemoteParquet, Reads]:
    reads = Reads(path)
    return RemoteParquet(reads, path.stat().st_size, shown=path.name), reads


@pytest.fixture
def stream(tmp_path: Path) -> ImageStream:
    files = [remote(path)[0] for path in write_files(tmp_path / "files")]
    return ImageStream(tuple(files), "image", "0" * 64)


def opened(stream: ImageStream, rows: list[int]) -> OpenedDataset:
    labels = hf.Dataset.from_dict(
        {"label": [row % 2 for row in rows]}, features=hf.Features({"label": FEATURES["label"]})
    )
    return OpenedDataset(
        dataset=labels,
        image_column="image",
        label_column="label",
        label_names=["cat", "dog"],
        reference="org/set",
        config_name="default",
        split="train",
        row_numbers=tuple(rows),
        stream=stream,
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_streamed_images_are_those_of_their_rows(stream: ImageStream, workers: int) -> None:
    rows = [1, 2, 3, 11, 12, 17, 20, 21]
    data = load_stream(opened(stream, rows))
    assert data.parts is not None and data.parts.tolist() == [0, 0, 0, 2, 3, 4, 5, 5]
    device = torch.device("cpu")
    store = PixelsFromFiles(data, VALUES, seed=0, device=device, workers=workers)
    # The number of a repeat is that of the row, and a multiple of the rows.
    wanted = [np.array([7, 0, 12]), np.array([3, 5, 0])]
    for epoch in (0, None, None):
        for asked, batch in zip(wanted, store.batches(wanted, epoch=epoch), strict=True):
            numbers = [rows[row % len(rows)] for row in asked]
            assert batch.pixels[:, 0, 0, 0].tolist() == [10 * number for number in numbers]
            assert batch.labels.tolist() == [number % 2 for number in numbers]


def test_parts_are_read_once_per_epoch_and_dropped(stream: ImageStream) -> None:
    parts = stream.part_of(np.arange(NUM_ROWS))
    rows, orders = np.arange(NUM_ROWS), []
    for epoch in range(2):
        batches = epoch_batches(
            rows, batch_size=3, seed=0, epoch=epoch, parts=parts, shuffle_buffer=8
        )
        assert sorted(np.concatenate(batches).tolist()) == rows.tolist()
        orders.append(np.concatenate(batches).tolist())
        # Any 8 images that are shuffled together are of at most 3 parts.
        assert all(
            len(set(parts[orders[-1][start : start + 8]].tolist())) <= 3 for start in (0, 8, 16)
        )
        read: list[int] = []

        def one(part: int, read: list[int] = read) -> dict[int, Any]:
            read.append(part)
            return {part: None}

        for found, batch in zip(read_ahead([parts[b] for b in batches], one), batches, strict=True):
            assert found.keys() == set(parts[batch].tolist())
        assert sorted(read) == list(range(6))
    assert orders[0] != orders[1]


def test_processes_share_the_batches_of_a_stream(stream: ImageStream) -> None:
    data = load_stream(opened(stream, list(range(NUM_ROWS))))
    batches = epoch_batches(
        np.arange(NUM_ROWS), batch_size=8, seed=0, epoch=0, parts=data.parts, shuffle_buffer=8
    )
    store = PixelsFromFiles(data, VALUES, seed=0, device=torch.device("cpu"), workers=0)
    whole = [batch.pixels for batch in store.batches(batches, epoch=0)]
    for rank in range(2):
        shares = [part_of_rank(one, rank=rank, world_size=2) for one in batches]
        for share, batch in zip(store.batches(shares, epoch=0), whole, strict=True):
            assert torch.equal(share.pixels, batch[rank::2])


def test_a_run_on_a_stream_resumes_within_an_epoch(
    stream: ImageStream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = opened(stream, list(range(NUM_ROWS)))
    monkeypatch.setattr("train.sources.open_stream", lambda *_, **__: there)
    options = TrainOptions(
        dataset="org/set",
        model="test_resnet",
        out=tmp_path / "whole",
        overrides={"epochs": 2, "batch_size": 4, "warmup_epochs": 0.0, "val_images": 4},
        stream=True,
        shuffle_buffer=8,
        workers=0,
        threads=1,
    )
    train(options)
    halves = replace(options, out=tmp_path / "halves")
    with monkeypatch.context() as patch:
        interrupt_at(7, patch)
        with pytest.raises(Stopped):
            train(halves)
    train(halves)
    whole, resumed = (load_file(one.out / "model.safetensors") for one in (options, halves))
    assert all(torch.equal(one, resumed[name]) for name, one in whole.items())


def test_only_needed_parts_are_transferred(tmp_path: Path) -> None:
    path = write_files(tmp_path)[0]
    table = pq.read_table(path)
    file, reads = remote(path)
    assert file.table(["label"], [1])["label"].to_pylist() == [0, 1, 0, 1]
    assert file.table(["image"], [2])["image"].to_pylist() == table["image"].to_pylist()[8:]
    groups = [file.metadata.row_group(group) for group in range(3)]
    # Bytes and paths.
    assert file.num_bytes("image") == sum(
        group.column(leaf).total_compressed_size for group in groups for leaf in range(2)
    )
    assert len(reads.ranges) == 3
    assert max(stop - start for start, stop in reads.ranges[1:]) < path.stat().st_size / 2


@pytest.mark.parametrize("place", ["page", "footer"])
def test_a_damaged_file_is_one_line(tmp_path: Path, place: str) -> None:
    path = write_files(tmp_path)[0]
    content = bytearray(path.read_bytes())
    start = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    if place == "footer":
        start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    stream = ImageStream((remote(path)[0],), "image", "")
    with pytest.raises(UserError, match=r"train-0\.parquet: cannot be read \(its "):
        for part in range(3):
            stream.cells(part)


def test_a_part_that_expands_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    cell = pa.array([{"bytes": bytes(200 << 20), "path": None}], FEATURES.arrow_schema[0].type)
    pq.write_table(pa.table({"image": cell}), path, compression="zstd")
    with pytest.raises(UserError, match=r"large\.parquet: its [\d,]+ bytes would become more than"):
        ImageStream((remote(path)[0],), "image", "").cells(0)


def test_a_part_too_large_to_be_read_at_once_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, reads = remote(write_files(tmp_path)[0])
    monkeypatch.setattr("factory.common.remote_parquet._MOST_BYTES", 100)
    with pytest.raises(UserError, match=r"row groups of \d+ B are too large to be read at once"):
        file.table(["image"], [0])
    assert len(reads.ranges) == 1


class _Answer:
    """A response of a server that ignores the requested range, or ends too early."""

    def __init__(self, status: int, blocks: Iterator[bytes]) -> None:
        self.status_code, self._blocks = status, blocks

    def iter_bytes(self) -> Iterator[bytes]:
        return self._blocks


@pytest.mark.parametrize(("status", "sent"), [(200, 1000), (206, 3), (206, 1000)])
def test_an_answer_that_is_not_the_requested_part_is_no_damaged_file(
    monkeypatch: pytest.MonkeyPatch, status: int, sent: int
) -> None:
    read = list[bytes]()

    def blocks() -> Iterator[bytes]:
        for _ in range(sent):
            read.append(b"x")
            yield b"x"

    @contextmanager
    def stream(*_: Any, **__: Any) -> Iterator[_Answer]:
        yield _Answer(status, blocks())

    monkeypatch.setenv("DATA_FACTORY_HUB_PATIENCE_S", "0")
    monkeypatch.setattr("huggingface_hub.get_session", lambda: SimpleNamespace(stream=stream))
    monkeypatch.setattr("huggingface_hub.hf_raise_for_status", lambda _: None)
    monkeypatch.setattr(HubSession, "bound", lambda _: None)
    session = HubSession(parse_target("org/set", "dataset"), writes=False)
    with pytest.raises(Failure, match="not the requested part of the file"):
        read_range(session, "0" * 40, "a.parquet", 10, 20)
    assert len(read) <= 11


_UPLOAD = """
import sys
from huggingface_hub import HfApi

api = HfApi()
api.create_repo(sys.argv[1], repo_type="dataset")
api.upload_folder(repo_id=sys.argv[1], repo_type="dataset", folder_path=sys.argv[2])
"""


def test_a_run_on_a_dataset_of_the_hub_downloads_no_file(hub: LocalHub, tmp_path: Path) -> None:
    write_files(tmp_path / "set" / "data")
    home, name = tmp_path / "home", f"{ORG}/streamed"
    done = run_python(hub, home, _UPLOAD, name, tmp_path / "set")
    assert done.returncode == 0, done.stderr
    options = ["--stream", "--model", "test_resnet", "--epochs", "2", "--total-batch-size", "4"]
    options += ["--filter", "score > 0.1", "--shuffle-buffer", "8", "--val-images", "4"]
    options += ["--threads", "1"]
    runs = []
    # How files are stored does not change what a second run computes.
    for number in range(2 if hub.xet_enabled else 1):
        run = tmp_path / f"run-{number}"
        more = ["--workers", str(number), "--out", run]
        done = run_factory(hub, home, name, *options, *more, module="train")
        assert done.returncode == 0, done.stderr
        runs.append((run / "model.safetensors").read_bytes())
    assert "read over the network in each epoch" in done.stderr
    assert "8 of 19 are shuffled together" in done.stderr
    assert not [path for path in home.rglob("*.parquet") if path.stat().st_size > 1000]
    assert runs[0] == runs[-1]
    config = (tmp_path / "run-0" / "config.yaml").read_text()
    assert "pixels: stream" in config and "shuffle_buffer: 8" in config


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "--stream reads datasets of the Hub"),
        ({"skip_unreadable": True}, "cannot be combined with --skip-unreadable"),
        ({"more_datasets": ("other",)}, "cannot be combined with several datasets"),
        ({"stream": False, "shuffle_buffer": 3}, "--shuffle-buffer: only with --stream"),
    ],
)
def test_what_a_stream_cannot_do_is_said(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    given: dict[str, Any] = {"stream": True, **changes}
    with pytest.raises(UserError, match=said):
        train(
            TrainOptions(dataset=str(tmp_path), model="test_resnet", out=tmp_path / "run", **given)
        )
