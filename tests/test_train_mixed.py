"""Several datasets in one run: labels, shares, held-out parts, what is recorded and shown."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from test_train import COLOURS, make_set

from eval.table import collect, make_tables
from factory.common.errors import UserError
from train.arguments import options_of
from train.cli import main
from train.mixing import rows_of_epoch
from train.model_card import card_text
from train.parser import build_parser
from train.run import TrainOptions, train

NAMES = ["red", "green", "blue"]


def make_photos(folder: Path, names: list[str], *, count: int = 10, seed: int = 1) -> Path:
    """Write a folder of image files, one subfolder per class."""
    rng = np.random.default_rng(seed)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            noise = rng.integers(-40, 40, (32, 32, 3))
            colour = COLOURS[NAMES.index(name.lower())]
            pixels = (colour + noise).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def options(tmp_path: Path) -> TrainOptions:
    return TrainOptions(
        dataset=str(make_set(tmp_path / "colours", num_images=60)),
        real_train=str(make_photos(tmp_path / "photos", ["Blue", "Red"])),
        model="test_resnet",
        out=tmp_path / "run",
        overrides={"epochs": 2, "batch_size": 16, "warmup_epochs": 0.0, "image_size": 32},
        threads=1,
    )


def config_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((out / "config.yaml").read_text())
    return found


def test_labels_are_matched_by_name_and_each_dataset_is_recorded_and_scored(
    options: TrainOptions,
) -> None:
    summary = train(options)
    config = config_of(options.out)
    data = config["data"]
    # The folder has no green, and its classes are in another order and case.
    assert data["class_counts"] == {"red": 30, "green": 20, "blue": 30}
    assert [(one["num_images"], one["real"]) for one in data["sources"]] == [
        (60, False),
        (20, True),
    ]
    assert (data["num_images"], data["num_real_images"], config["mix"]) == (80, 20, None)
    with (options.out / "metrics.csv").open() as stream:
        last = list(csv.DictReader(stream))[-1]
    # Of 60 images 2 of each class are held out, of 20 one of each.
    parts = [float(last[f"val_top1_{number}"]) for number in (1, 2)]
    assert float(last["val_top1"]) == pytest.approx((6 * parts[0] + 2 * parts[1]) / 8)
    assert list(summary.val_by_dataset) == ["1: colours", "2: photos"]
    card = card_text(options.out, repo_id="org/name")
    assert ": 60 images" in card
    assert ": 20 real images" in card
    assert "on held-out training images" in card and "synthetic-data" not in card


def test_shares_are_of_each_epoch() -> None:
    large, small = np.arange(0, 90), np.arange(100, 104)

    def epoch(number: int) -> Any:
        return rows_of_epoch([large, small], shares=(0.5, 0.5), num_rows=200, seed=3, epoch=number)

    rows = epoch(0)
    assert len(rows) == 94
    assert len(set(rows.tolist())) == 94
    own = rows[rows % 200 >= 100] % 200
    counts = np.unique(own, return_counts=True)[1]
    assert (len(own), counts.min(), counts.max()) == (47, 11, 12)
    assert np.array_equal(rows, epoch(0))
    assert not np.array_equal(rows, epoch(1))
    whole = rows_of_epoch([large, small], shares=None, num_rows=200, seed=3, epoch=0)
    assert np.array_equal(whole, np.concatenate([large, small]))


def test_a_mixed_run_resumes_with_the_same_weights_and_refuses_other_data(
    options: TrainOptions, tmp_path: Path
) -> None:
    mixed = replace(options, mix=(0.5, 0.5))
    constant = {**options.overrides, "schedule": "constant"}
    whole = replace(mixed, overrides=constant, out=tmp_path / "whole")
    train(whole)
    train(replace(mixed, overrides={**constant, "epochs": 1}))
    train(replace(mixed, overrides=constant))
    one, other = (load_file(out / "model.safetensors") for out in (whole.out, mixed.out))
    assert all(torch.equal(one[key], other[key]) for key in one)
    # A moved dataset is the same; other shares or images are another run.
    moved = Path(shutil.move(tmp_path / "photos", tmp_path / "moved"))
    train(replace(mixed, overrides=constant, real_train=str(moved)))
    assert config_of(mixed.out)["data"]["sources"][1]["reference"] == str(moved)
    with pytest.raises(UserError, match=r"differs in mix"):
        train(replace(mixed, overrides=constant, real_train=str(moved), mix=(0.7, 0.3)))
    Image.new("RGB", (32, 32)).save(moved / "Red/0.png")
    with pytest.raises(UserError, match=r"data.pixels_sha256"):
        train(replace(mixed, overrides=constant, real_train=str(moved)))


def test_unknown_classes_are_refused_by_name(options: TrainOptions, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "Red").rename(photos / "violet")
    with pytest.raises(UserError, match=r"photos: its classes violet are not classes of .*colours"):
        train(options)
    assert not (options.out / "config.yaml").exists()


def test_a_label_map_names_the_classes_of_further_datasets(
    options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, file = tmp_path / "photos", tmp_path / "map.yaml"
    (photos / "Red").rename(photos / "reds")
    words = [options.dataset, "--real-train", str(photos), "--model", "test_resnet"]
    words += ["--out", str(options.out), "--epochs", "1"]
    monkeypatch.setattr("sys.argv", ["train", *words, "--suggest-labels", str(file)])
    with pytest.raises(UserError, match=f"check {file} and pass it with --labels {file}, or leave"):
        main()
    assert yaml.safe_load(file.read_text()) == {"reds": "red"}
    # An error of the map is found before any image is decoded.
    file.write_text("reds: red\nblues: blue")
    monkeypatch.setattr("sys.argv", ["train", *words, "--labels", str(file)])
    with pytest.raises(UserError, match=r"blues: .*photos has no label 'blues'"):
        main()
    file.write_text("reds: red")
    assert main() == 0
    data = config_of(options.out)["data"]
    assert data["class_counts"] == {"red": 30, "green": 20, "blue": 30}
    assert data["label_map"] == {"reds": "red"}
    monkeypatch.setattr("sys.argv", ["train", *words[:1], *words[3:], "--labels", str(file)])
    with pytest.raises(UserError, match=f"--labels {file}: maps .* there is one dataset"):
        main()


def test_a_class_may_be_in_one_dataset_alone_but_not_in_none(
    options: TrainOptions, tmp_path: Path
) -> None:
    few = replace(options, row_filter="label != 'green'")
    with pytest.raises(UserError, match=r"colours.* and .*photos.*: 1 class of 3 has no .*\(green"):
        train(few)
    make_photos(tmp_path / "more", ["green", "red"])
    train(replace(few, more_datasets=(), real_train=str(tmp_path / "more")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b", "--mix", "1"], r"--mix 1: has 1 share for 2 datasets"),
        (["a", "--mix", "1"], r"give one for each of two or more"),
        (["a", "b", "--mix", "1,x"], r"expected positive numbers"),
        (["a", "b", "--mix", "1,0"], r"expected positive numbers"),
        (["a", "b", "--mix", "1,inf"], r"expected positive numbers"),
        (["a", "a"], r"dataset a is given twice"),
        (["a", "--real-train", "a"], r"dataset a is given twice"),
    ],
)
def test_bad_mixtures(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        options_of(
            build_parser().parse_args([*arguments, "--model", "test_resnet", "--out", "run"])
        )


def test_shares_need_not_be_of_one() -> None:
    words = ["a", "b", "--real-train", "c", "--mix", "2,1,1", "--model", "m", "--out", "run"]
    parsed = options_of(build_parser().parse_args(words))
    assert parsed is not None
    assert (parsed.dataset, parsed.more_datasets, parsed.real_train) == ("a", ("b",), "c")
    assert parsed.mix == (0.5, 0.25, 0.25)


def test_a_share_of_no_image_is_refused(options: TrainOptions) -> None:
    with pytest.raises(
        UserError, match=r"--mix: dataset 2 has 18 training images and a share of 0"
    ):
        train(replace(options, mix=(0.999, 0.001)))


def test_tables_have_rows_of_their_own_for_mixed_runs(
    options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eval.cli import main as score

    test = make_photos(tmp_path / "test", NAMES, seed=9)
    runs = []
    for name, own in (
        ("alone", replace(options, real_train=None)),
        ("again", replace(options, real_train=None, seed=1)),
        ("both", options),
        ("mixed", replace(options, mix=(0.8, 0.2))),
    ):
        runs.append(tmp_path / name)
        train(replace(own, out=runs[-1]))
        score(["score", str(runs[-1]), "--real", str(test)])
    # Runs of earlier versions lack these keys, and share a cell with runs of this one.
    old = next(runs[0].glob("scores-*.json"))
    written = json.loads(old.read_text())
    for key in ("mix", "weights", "weights_sha256"):
        written["training"].pop(key)
    for key in ("sources", "num_real_images"):
        written["training"]["data"].pop(key)
    old.write_text(json.dumps(written))
    (table,) = make_tables(collect(runs), base="colours")
    assert table.rows == [
        "colours",
        "80 % colours + 20 % photos (20 real)",
        "colours + photos (20 real)",
    ]
    assert len(table.cells["colours", table.columns[0]].runs) == 2
    scores = json.loads(next(runs[2].glob("scores-*.json")).read_text())
    assert scores["model"]["selected_on"] == "held-out training"
    assert scores["training"]["data"]["num_real_images"] == 20


def test_the_command_reports_each_dataset(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [options.dataset, "--real-train", str(options.real_train), "--mix", "0.7,0.3"]
    rest = ["--model", "test_resnet", "--epochs", "1", "--out", str(options.out)]
    monkeypatch.setattr("sys.argv", ["train", *arguments, *rest])
    assert main() == 0
    said = capsys.readouterr().out
    assert " of 8 held-out training images (not an accuracy on other photos: " in said
    assert "; 20 real images in training and held out" in said
