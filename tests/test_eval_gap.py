"""The gap between a synthetic and a real set: the number, the figures, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image
from test_eval_score import write_run

from eval.cli import main
from eval.gap import embed, measure_gap
from eval.intervals import share_difference, share_interval
from factory.errors import UserError

NAMES = ["ant", "bee", "cat"]
COLOURS = np.array([[200, 60, 60], [60, 190, 60], [60, 60, 210]])


def write_set(
    folder: Path,
    *,
    split: str,
    seed: int,
    per_class: int = 40,
    shift: int = 0,
    names: list[str] = NAMES,
) -> Path:
    """Write a dataset of three colours; `shift` makes it brighter than another."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[Any]] = {"image": [], "label": []}
    for label in range(3):
        for _ in range(per_class):
            noise = rng.integers(-40, 41, (32, 32, 3)) + rng.integers(-15, 16) + shift
            pixels = np.clip(COLOURS[label] + noise, 0, 255).astype(np.uint8)
            rows["image"].append(Image.fromarray(pixels))
            rows["label"].append(label)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
    )
    folder.mkdir()
    path = folder / f"{split}-00000-of-00001.parquet"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(path))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gap")
    write_set(folder / "real", split="test", seed=1)
    write_set(folder / "near", split="train", seed=2)
    write_set(folder / "far", split="train", seed=3, shift=60)
    write_run(folder / "run")
    return folder


def gap(place: Path, synthetic: str, out: Path, *more: str) -> dict[str, Any]:
    arguments = ["--real", str(place / "real"), "--model", str(place / "run"), "--out", str(out)]
    main(["gap", str(place / synthetic), *arguments, *more])
    found: dict[str, Any] = json.loads((out / "gap.json").read_text())
    return found


def test_a_shifted_set_is_told_apart_and_a_like_one_is_not(place: Path, tmp_path: Path) -> None:
    near, far = gap(place, "near", tmp_path / "near"), gap(place, "far", tmp_path / "far")
    assert far["two_sample"]["accuracy"] > 0.9 > 0.75 > near["two_sample"]["accuracy"]
    for found in (near, far):
        assert found["images_per_side"] == 60 and found["classes"] == NAMES
        assert found["floor"]["low"] < 0.5 < found["floor"]["high"]
        assert found["two_sample"]["num_images"] == found["floor"]["num_images"] == 60
        share = found["two_sample"]
        assert share["accuracy"] == share["num_correct"] / 60
        assert share["low"] < share["accuracy"] <= share["high"]
    assert near["above_floor"]["low"] < 0 < far["above_floor"]["low"]
    assert far["floor"] == near["floor"]
    assert near["head"]["synthetic"]["accuracy"] == 1.0
    assert 0.5 < near["spread"]["ratio"] < 2 and len(near["spread"]["per_class"]) == 3


def test_figures_are_the_same_bytes_every_time(place: Path, tmp_path: Path) -> None:
    names = ["sets.png", "sets.svg", "classes.png", "classes.svg", "gap.json"]
    for folder in ("one", "two"):
        gap(place, "near", tmp_path / folder, "--images", "45")
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(names)
    for name, least in (("sets.png", 800), ("classes.png", 1500)):
        with Image.open(tmp_path / "one" / name) as figure:
            assert figure.width > least
            # Dots of several colours on white, not an empty frame.
            colours = figure.convert("RGB").quantize(16).getcolors()
            assert colours is not None and len(colours) > 8
    assert b"<svg" in (tmp_path / "one" / "sets.svg").read_bytes()


def test_a_label_map_compares_renamed_and_merged_classes(place: Path, tmp_path: Path) -> None:
    names = ["Ameise", "bee", "Hummel"]
    real = write_set(tmp_path / "real", split="test", seed=1, names=names)
    path = tmp_path / "map.yaml"
    path.write_text("Ameise: ant\nHummel: cat\n")
    options = ["--real", str(real), "--model", str(place / "run"), "--out", str(tmp_path / "one")]
    main(["gap", str(place / "near"), *options, "--labels", str(path)])
    found = json.loads((tmp_path / "one" / "gap.json").read_text())
    plain = gap(place, "near", tmp_path / "plain")
    assert found["labels"] == {
        "matched": "map",
        "map": {"Ameise": "ant", "Hummel": "cat"},
        "merged": [],
    }
    assert plain["labels"] == {"matched": "exact", "map": None, "merged": []}
    assert {key for key in plain if plain[key] != found[key]} == {"labels"}
    path.write_text("Ameise: ant\nHummel: bee\n")
    main(["gap", str(place / "near"), *options, "--labels", str(path)])
    merged = json.loads((tmp_path / "one" / "gap.json").read_text())
    assert merged["labels"]["merged"] == [["bee", "Hummel"]]
    assert merged["classes"] == ["ant", "bee", "cat"]
    # Two classes share the images: 20 of 40 ants, and 40 (all of one kind) of 80 bees.
    assert merged["images_per_side"] == 60


def test_json_on_stdout_is_the_file(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = gap(place, "near", tmp_path / "out", "--json")
    assert json.loads(capsys.readouterr().out) == found


def test_classes_alone_do_not_tell_sides_apart() -> None:
    """Both halves hold classes in equal parts, so that what a class looks like says nothing."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(4), 25)
    sides = [rng.normal(size=(100, 8)) + 5 * labels[:, None] for _ in range(3)]
    found = measure_gap(*sides, labels=labels, seed=0)
    assert found["two_sample"]["low"] < 0.5 < found["two_sample"]["high"]
    assert found["head"]["synthetic"]["accuracy"] > 0.9
    assert 0.7 < found["spread"]["ratio"] < 1.4
    wide = measure_gap(*sides[:2], 3 * (sides[2] - 5 * labels[:, None]), labels=labels, seed=0)
    assert wide["spread"]["ratio"] > 4


def test_places_keep_neighbours_together() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    features = rng.normal(size=(60, 5)) + 20 * np.eye(3, 5)[labels]
    places = embed(features)
    assert np.array_equal(places, embed(features))
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(axis=1)] == labels).mean() > 0.95


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--images", "9"), "9 images of either side can be compared.* 20 are needed"),
        (("--model", "resnet18"), "no folder, and timm has no such weights at hand"),
        (("--model", "no-such-model"), "no folder, and timm has no such weights at hand"),
        (("--syn-split", "test"), "no split 'test'"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    place: Path, tmp_path: Path, change: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        gap(place, "near", tmp_path / "out", *change)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_negative_seed_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((SystemExit, UserError)) as caught:
        gap(place, "near", place / "out", "--seed", "-1")
    assert "-1 is below 0" in f"{caught.value}{capsys.readouterr().err}"


def test_intervals_are_the_published_ones() -> None:
    # Newcombe (1998), table II, 56/70 against 48/80: 0.0524 to 0.3339 by method 10.
    difference, interval = share_difference((56, 70), (48, 80))
    assert difference == pytest.approx(0.2)
    assert interval == pytest.approx((0.0524, 0.3339), abs=5e-5)
    # Wilson for 81 of 263, same author's first paper: 0.2553 to 0.3662.
    assert share_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
