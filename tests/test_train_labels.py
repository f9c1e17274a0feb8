"""Datasets with a list of labels per image."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import ClassLabel, Dataset, Features, Image, List
from PIL import Image as PilImage
from test_train import read_metrics

from eval.timm_models import load_model
from factory.common.errors import UserError
from factory.data.open import open_dataset
from train.run import TrainOptions, train
from train.several_labels import ClassScores, class_scores, mean_average_precision
from train.teacher import load_teacher

NAMES = ["red", "green", "blue"]


def write_set(folder: Path, lists: list[list[int] | None]) -> Path:
    """Write images whose colour channels are bright where they have that label."""
    rng = np.random.default_rng(0)
    images = []
    for found in lists:
        pixels = rng.integers(20, 80, (32, 32, 3))
        pixels[:, :, found or []] += 140
        images.append(PilImage.fromarray(pixels.astype(np.uint8)))
    features = Features(image=Image(), tags=List(ClassLabel(names=NAMES)))
    folder.mkdir(parents=True)
    rows = Dataset.from_dict({"image": images, "tags": lists}, features=features)
    rows.to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def tags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lists = [[label for label in range(3) if row >> label & 1] for row in range(40)]
    return write_set(tmp_path_factory.mktemp("sets") / "tags", [*lists])


@pytest.fixture(scope="module")
def run(tags: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    overrides = {"epochs": 4, "batch_size": 8, "warmup_epochs": 0.0, "val_fraction": 0.3}
    options = TrainOptions(
        dataset=str(tags), model="test_resnet", out=out, overrides=overrides, threads=1
    )
    summary = train(options)
    found = [float(row["val_map"]) for row in read_metrics(out)]
    assert found[summary.best_epoch - 1] == max(found)
    assert summary.best_val_map == pytest.approx(max(found), abs=1e-5)
    return out


def test_a_list_of_labels_is_learnt(run: Path) -> None:
    with (run / "per-class.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = max(float(row["val_map"]) for row in read_metrics(run))
    assert [row["class"] for row in rows] == NAMES
    precisions = [float(row["average_precision"]) for row in rows]
    assert np.mean(precisions) == pytest.approx(best, abs=1e-5) and best > 0.8
    config = yaml.safe_load((run / "config.yaml").read_text())
    values = config["hyperparameters"]
    assert values["bce_loss"] is True and values["label_smoothing"] == 0
    # Rows 0 to 39 have the labels of the bits of their numbers.
    assert config["data"]["class_counts"] == {"red": 20, "green": 20, "blue": 20}
    assert config["data"]["num_images"] == 40 and config["data"]["several_labels"] is True


def test_commands_for_one_label_refuse_several(run: Path, tags: Path) -> None:
    assert json.loads((run / "config.json").read_text())["problem_type"] == (
        "multi_label_classification"
    )
    with pytest.raises(UserError, match="was trained with several labels per image"):
        load_model(str(run))
    with pytest.raises(UserError, match=r"--teacher .* several labels per image"):
        load_teacher(str(run), NAMES)
    with pytest.raises(UserError, match=r"column 'tags' has several labels per image, which only"):
        open_dataset(tags)


def test_options_for_one_label_are_refused_together(tags: Path, tmp_path: Path) -> None:
    options = TrainOptions(dataset=str(tags), model="test_resnet", out=tmp_path / "run", threads=1)
    mixed = replace(options, overrides={"mixup": 0.2, "balance_classes": True})
    with pytest.raises(UserError, match="and --images-per-class works with one only"):
        train(replace(mixed, images_per_class=2))
    with pytest.raises(UserError) as caught:
        train(mixed)
    for option in ("--mixup", "--balance-classes"):
        assert f"several labels per image, and {option} works with one only" in str(caught.value)
    assert not options.out.exists()


def test_an_unknown_label_is_named(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", [[0], [1, 2], [-1], [2]])
    options = TrainOptions(dataset=str(folder), model="test_resnet", out=tmp_path / "run")
    with pytest.raises(UserError, match=r"row 2 has no label or an unknown one in 'tags'"):
        train(options)


def test_scores_of_a_class_are_the_published_ones() -> None:
    logits = np.array([[3.0, 0.0], [2.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], dtype=np.float32)
    labels = np.array([[1, 0], [0, 0], [1, 1], [0, 0]])
    first, second = class_scores(logits, labels)
    # Precision is 1 at the first hit and 2/3 at the second; three are predicted, two are right.
    assert first == ClassScores(2, pytest.approx((1 + 2 / 3) / 2), pytest.approx(2 * 2 / 5))
    # Equal logits are found together, whatever their order; probability 0.5 counts as found.
    assert second == ClassScores(1, pytest.approx(1 / 4), pytest.approx(2 / 5))
    (absent,) = class_scores(logits[:, :1], np.zeros((4, 1), dtype=np.int64))
    assert absent == ClassScores(0, None, None)
    assert mean_average_precision([first, absent]) == first.average_precision
