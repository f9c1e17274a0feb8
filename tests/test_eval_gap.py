"""The gap between synthetic and real images: measures, intervals, plots, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_eval_score import write_run

from eval import gap_steps
from eval.cli import main
from eval.gap import measure_gap
from eval.gap_sample import _too_few
from eval.intervals import share_difference
from eval.tsne import embed
from factory.common.errors import UserError

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
    columns: dict[str, tuple[str, list[Any]]] | None = None,
) -> Path:
    """Write a dataset of three colours; `shift` makes it brighter, `columns` are added."""
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
    for name, (kind, values) in (columns or {}).items():
        rows[name], features[name] = values, datasets.Value(kind)
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


@pytest.fixture(autouse=True)
def without_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take most of the time; one test is about them."""
    if "plots" not in request.node.name:
        for name in ("plot_sets", "plot_classes", "plot_coverage", "embed"):
            monkeypatch.setattr(gap_steps, name, lambda *_, **__: None)


def gap(place: Path, synthetic: str, out: Path, *more: str) -> dict[str, Any]:
    model = [] if "--model" in more else ["--run", str(place / "run")]
    arguments = ["--real", str(place / "real"), *model, "--out", str(out)]
    main(["gap", str(place / synthetic), *arguments, *more])
    found: dict[str, Any] = json.loads((out / "gap.json").read_text())
    return found


def test_a_classifier_finds_a_shifted_dataset_and_not_a_similar_one(
    place: Path, tmp_path: Path
) -> None:
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
    assert near["spread"]["low"] < near["spread"]["ratio"] < near["spread"]["high"]
    assert far["floor"] == near["floor"]
    assert near["head"]["synthetic"]["accuracy"] == 1.0
    assert 0.5 < near["spread"]["ratio"] < 2 and len(near["spread"]["per_class"]) == 3


def test_plots_have_the_same_bytes_every_time(place: Path, tmp_path: Path) -> None:
    names = [f"{one}.{form}" for one in ("sets", "classes", "coverage") for form in ("png", "svg")]
    names.append("gap.json")
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


def test_unreadable_images_are_left_out_and_listed(place: Path, tmp_path: Path) -> None:
    # Half of each real class is compared, 20 images: all synthetic ones are wanted.
    (file,) = write_set(tmp_path / "set", split="train", seed=2, per_class=20).glob("*.parquet")
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[4]["image"]["bytes"] = rows[4]["image"]["bytes"][:60]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    synthetic = str(tmp_path / "set")
    with pytest.raises(UserError, match=r"^row 4: .*cannot be decoded .*; --skip-unreadable skips"):
        gap(place, synthetic, tmp_path / "out")
    found = gap(place, synthetic, tmp_path / "out", "--skip-unreadable")
    assert found["unreadable"]["real"] == []
    assert [fault.partition(":")[0] for fault in found["unreadable"]["synthetic"]] == ["row 4"]
    assert found["images_per_side"] == 59


def test_a_label_map_compares_renamed_and_merged_classes(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["Ameise", "bee", "Hummel"]
    real = write_set(tmp_path / "real", split="test", seed=1, names=names)
    options = ["--real", str(real), "--model", str(place / "run"), "--out", str(tmp_path / "one")]
    with pytest.raises(UserError, match='exclude those images with --real-filter "label not in'):
        main(["gap", str(place / "near"), *options])
    path = tmp_path / "map.yaml"
    path.write_text("Ameise: ant\nHummel: cat\n")
    main(["gap", str(place / "near"), *options, "--labels", str(path)])
    found = json.loads((tmp_path / "one" / "gap.json").read_text())
    assert f"--model {place / 'run'} is read as --run {place / 'run'}" in capsys.readouterr().err
    plain = gap(place, "near", tmp_path / "plain")
    assert found["labels"] == {
        "matched": "map",
        "map": {"Ameise": "ant", "Hummel": "cat"},
        "merged": [],
    }
    assert plain["labels"] == {"matched": "exact", "map": None, "merged": []}
    assert {key for key in plain if plain[key] != found[key]} == {"labels", "class_counts"}
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


def planted(seed: int, *, shift: float = 0.0, scale: float = 1.0) -> list[Any]:
    """Return features of real, other real and synthetic images, and their labels; D is 8."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), 50)
    sides = [rng.normal(size=(200, 8)) for _ in range(3)]
    sides[2] = sides[2] * scale + shift
    return [*(side + 5 * np.eye(4, 8)[labels] for side in sides), labels]


def measured(case: list[Any]) -> dict[str, Any]:
    return measure_gap(*case[:3], labels=case[3], seed=0).as_data()


def test_without_a_gap_the_intervals_cover_no_gap() -> None:
    """Classes alone must not distinguish the sides: each half has equal parts of them."""
    found = [measured(planted(seed)) for seed in range(12)]
    for figures, ends in (
        ([one["two_sample"] for one in found], 0.5),
        ([one["floor"] for one in found], 0.5),
        ([one["above_floor"] for one in found], 0.0),
        ([one["spread"] for one in found], 1.0),
    ):
        # Of 12 intervals of 95 %, 3 or more miss with a probability of 2 %.
        assert sum(one["low"] <= ends <= one["high"] for one in figures) >= 10
    assert all(one["head"]["synthetic"]["accuracy"] > 0.9 for one in found)


def test_a_shift_is_a_gap_and_leaves_the_spread() -> None:
    found = measured(planted(1, shift=3.0))
    assert found["two_sample"]["low"] > 0.9 and found["above_floor"]["low"] > 0.3
    assert found["spread"]["low"] < 1 < found["spread"]["high"]


def test_spread_is_the_ratio_of_variances() -> None:
    # Deviations three times as large: a ratio of variances of nine.
    spread = measured(planted(1, scale=3.0))["spread"]
    assert spread["low"] < 9 < spread["high"] and spread["low"] > 6
    # The interval is about as wide as theory has it: the log of a ratio of two variances with
    # 196 * 8 degrees of freedom each has a standard error of sqrt(4 / 1568).
    theory = 2 * 1.96 * np.sqrt(4 / (196 * 8))
    assert np.log(spread["high"] / spread["low"]) == pytest.approx(theory, rel=0.2)


def test_a_class_collapsed_to_one_image_lowers_the_spread() -> None:
    real, other, synthetic, labels = planted(1)
    before = measured([real, other, synthetic, labels])["spread"]
    collapsed = synthetic.copy()
    collapsed[labels == 2] = synthetic[labels == 2][0]
    after = measured([real, other, collapsed, labels])["spread"]
    assert after["per_class"][2] == pytest.approx(0, abs=1e-12)
    assert after["ratio"] == pytest.approx(0.75 * before["ratio"], rel=0.1)
    assert after["high"] < 1 < before["high"]
    # Real images that are all the same have no spread to compare with.
    same = np.ones_like(real)
    nothing = measured([same + 5 * labels[:, None], other, synthetic, labels])["spread"]
    assert (nothing["ratio"], nothing["low"], nothing["high"]) == (None, None, None)


def test_the_gap_above_the_floor_uses_the_images_both_share() -> None:
    """The same images for baseline and synthetic give the same errors, so a difference of 0."""
    real, other, _, labels = planted(1)
    found = measured([real, other + 0.5, other + 0.5, labels])
    above = found["above_floor"]
    assert above["difference"] == 0
    # Half of the held-out images are the same real ones, and on those every decision agrees.
    assert 0.35 < above["correlation"] < 0.65
    counts = [(one["num_correct"], one["num_images"]) for one in (found["two_sample"],) * 2]
    _, independent = share_difference(*counts)
    assert above["high"] - above["low"] < 0.85 * (independent.high - independent.low)


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
        (("--images", "20"), "^--images 20: expected 21 or more$"),
        (("--model", "resnet18"), "folder not found, and timm cannot load pretrained weights"),
        (("--model", "no-such-model"), "folder not found, and timm cannot load pretrained weights"),
        (("--syn-split", "test"), "no split 'test'"),
        (("--real-filter", "colour > 1"), "^--real-filter 'colour > 1': no column colour"),
        (("--syn-filter", "colour > 1"), "^--syn-filter 'colour > 1': no column colour"),
        (
            ("--other", "{place}/far", "--other-filter", "label > 9"),
            "^--other-filter 'label > 9': it matches none",
        ),
    ],
)
def test_an_error_is_one_line(
    place: Path, tmp_path: Path, change: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        gap(place, "near", tmp_path / "out", *(one.format(place=place) for one in change))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_classes_with_too_few_images_are_named() -> None:
    sizes = {"cat": (4, 12), "dog": (30, 3), "emu": (40, 40)}
    assert _too_few(sizes, 11, images=1000) == (
        "too few images: 11 real and 11 synthetic ones can be compared, 20 of each are needed; of "
        "3 classes, each needs 7 synthetic images and 14 real ones, half of them for the baseline "
        "(cat has 4 real and 12 synthetic, dog has 30 real and 3 synthetic)"
    )


def test_a_negative_seed_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((SystemExit, UserError)) as caught:
        gap(place, "near", place / "out", "--seed", "-1")
    assert "-1: expected 0 or more" in f"{caught.value}{capsys.readouterr().err}"
