"""`data-factory report`: one page about a dataset and its runs, also of hostile ones."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from build_parts import SETTINGS, FakeRenderer, combination, recipe
from PIL import Image
from web_parts import CHROMIUM, DRIVER, MISSING, Browser, browser

from eval.cli import main
from eval.real import open_real
from eval.report_page import headline, sheets, space
from eval.report_page import page as page_module
from eval.report_page.charts import Series, line_chart, ticks
from eval.report_page.commands import commands
from eval.report_page.dataset import open_report_dataset
from eval.report_page.differences import differences
from eval.report_page.distributions import distributions
from eval.report_page.duplicates import duplicates
from eval.report_page.gather import Report, gather
from eval.report_page.page import SECTIONS, render
from eval.report_page.runs import Runs, find_runs, read_metrics, with_rows_of_their_own
from eval.report_page.thumbnails import MAX_BYTES, sprite, thumbnail
from eval.sampling import quantity_text
from eval.scores_file import (
    Labels,
    Metrics,
    ModelFacts,
    Preprocessing,
    RealSet,
    Scores,
)
from eval.scores_io import write_scores
from eval.study.statistics import difference, spread_of_differences
from factory.builder.build import build
from factory.common import size_limits
from factory.common.errors import UserError
from factory.common.preset_options import option_words, preset_values
from factory.data.columns import DIFFERENCE_HASH
from factory.gates.duplicates import OF, NearDuplicates
from factory.gates.run import run_gates
from factory.inspection.verify import verify_set
from factory.planner.plan import ImageSpec
from factory.shards.settings import BuildSettings
from train.arguments import options_of
from train.parser import build_parser

NASTY = "</script><img src=x onerror=alert(1)>\"'"
RIGHT_TO_LEFT = "\u05d7\u05ea\u05d5\u05dc (1)"
LABELS = ["cat", NASTY, RIGHT_TO_LEFT]
IMAGES = 60


class Repeating(FakeRenderer):
    """Generates only four different images, so classes share them."""

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[Any]:
        return [
            np.random.default_rng(row.seed % 4).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            for row in rows
        ]


def write_run(
    folder: Path,
    row: str,
    *,
    seed: int = 0,
    wrong: int = 20,
    pixels: str = "p",
    source: str = "out",
    saves: bool = True,
) -> Path:
    """Write a run whose first `wrong` predictions are wrong, with metrics and predictions."""
    run = folder / f"{row}-{source}-{seed}-{pixels}"
    run.mkdir(parents=True)
    truth = np.arange(IMAGES) % 3
    seen = np.where(np.arange(IMAGES) < wrong + seed, (truth + 1) % 3, truth)
    matrix = np.zeros((3, 3), dtype=int)
    np.add.at(matrix, (truth, seen), 1)
    right = int((truth == seen).sum())
    scores = Scores(
        run=str(run),
        model=ModelFacts(
            architecture="test_resnet",
            num_classes=3,
            num_parameters=1000,
            weights_sha256=f"{run.name}",
            batch_norm="eval",
            selected_on="held-out synthetic",
            train_seconds=12.5,
        ),
        training={
            "model": "test_resnet",
            "seed": seed,
            "data": {
                "config_name": row,
                "reference": source,
                "num_images": 15,
                "pixels_sha256": pixels,
            },
            "hyperparameters": {"epochs": 3},
        },
        real=RealSet(
            name="photos-test",
            reference="photos",
            config_name=None,
            split="test",
            row_filter=None,
            image_column="image",
            label_column="label",
            num_images=IMAGES,
            fingerprint="f",
        ),
        labels=Labels(names=LABELS, num_real=3, matched="exact"),
        preprocessing=Preprocessing(
            input_size=(3, 8, 8),
            interpolation="bicubic",
            crop_pct=1.0,
            crop_mode="squash",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
        metrics=Metrics(
            top1=right / IMAGES,
            top1_low=max(right / IMAGES - 0.1, 0),
            top1_high=min(right / IMAGES + 0.1, 1),
            num_correct=right,
            top5=None,
            mean_per_class=right / IMAGES,
            per_class=(np.diag(matrix) / matrix.sum(axis=1)).tolist(),
            confusion_matrix=matrix.tolist(),
            calibration_error=0.1,
            mean_confidence=0.8,
        ),
        settings={},
        versions={"torch": "2.0"},
    )
    write_scores(scores, run / "scores-photos-test.json")
    epochs = "".join(f"{n},0.1,{1 / n},0.5,0.5,{0.2 * n},10,1\n" for n in (1, 2, 3))
    header = "epoch,lr,train_loss,train_top1,val_loss,val_top1,images_per_s,seconds\n"
    (run / "metrics.csv").write_text(header + epochs)
    if saves:
        table = pa.table(
            {
                "row": np.arange(IMAGES),
                "label": [LABELS[one] for one in truth],
                "predicted": [LABELS[one] for one in seen],
                "correct": truth == seen,
                "probability": np.linspace(0.4, 1, IMAGES),
            }
        )
        pq.write_table(table, run / "predictions-photos-test.parquet")
    return run


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with hostile class names and variables, near-duplicates and a union."""
    folder = tmp_path_factory.mktemp("hostile")
    recipes = [
        recipe(folder, "base-class", classes=LABELS),
        recipe(
            folder,
            "tricky",
            classes=LABELS,
            prompt="a {d} {class}",
            variables={"d": ["plain", NASTY]},
        ),
        combination(folder, "both", ["base-class", "tricky"]),
    ]
    build(
        recipes,
        folder / "out",
        settings=SETTINGS,
        show_progress=False,
        renderer_factory=Repeating,
    )
    run_gates(folder / "out", [NearDuplicates()], show_progress=False)
    return folder / "out"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        write_run(folder, "base-class", seed=seed)
        write_run(folder, "tricky", seed=seed, wrong=6)
    (folder / "begun").mkdir()
    (folder / "begun/metrics.csv").write_text("epoch\n1\n")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real images in the order of the predictions."""
    folder = tmp_path_factory.mktemp("photos")
    lines = ["file_name,label"]
    for place in range(IMAGES):
        pixels = np.random.default_rng(place).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{place}.png")
        quoted = LABELS[place % 3].replace('"', '""')
        lines.append(f'{place}.png,"{quoted}"')
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def report(out: Path, runs: Path, photos: Path) -> Report:
    real = open_real(photos / "metadata.csv", label_column="label")
    return gather(out, runs=[runs], real=real, own_command="data-factory report OUT")


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return render(report)


class Reader(HTMLParser):
    """Collects tags, attributes, scripts and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts.append(data)
        elif self._open != "style":
            self.words.append(data)


def test_every_section_is_there_and_needs_no_other_file(page: str) -> None:
    found = Reader(page)
    identities = {attrs.get("id") for _, attrs in found.tags}
    assert {section.key for section in SECTIONS} <= identities
    for _, attrs in found.tags:
        for name in ("src", "href", "action", "srcset", "data"):
            address = attrs.get(name)
            assert address is None or address.startswith(("#", "data:image/webp;base64,"))
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style and "url(" not in style[1] and "@import" not in style[1]


def test_texts_of_strangers_are_text(page: str) -> None:
    found = Reader(page)
    assert [tag for tag, _ in found.tags].count("script") == len(found.scripts) == 2
    assert not [attrs for _, attrs in found.tags if any(key.startswith("on") for key in attrs)]
    assert not [tag for tag, attrs in found.tags if tag == "img" and attrs.get("src") == "x"]
    assert NASTY in found.words
    data = json.loads(found.scripts[0])
    assert NASTY in {row["label"] for row in data["rows"]}
    place = data["columns"].index("d")
    assert NASTY in {row["values"][place] for row in data["rows"] if len(row["values"]) > place}
    isolated = re.findall(rf"<bdi[^>]*>{re.escape(RIGHT_TO_LEFT)}</bdi>", page)
    assert isolated, "right-to-left names cannot reorder the text around them"


def test_direction_marks_in_names_end_with_the_name(out: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["labels"][0] = "\u202eevil"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    page = render(gather(copy, own_command=""))
    assert re.search(r"<bdi[^>]*>\u202eevil</bdi>", page)
    inside = re.findall(r">([^<]*)\u202e", page)
    assert set(inside) <= {""}, "outside of elements of its own the mark would reorder other text"


def test_only_the_pages_own_script_may_run(page: str) -> None:
    found = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert found
    parts = [one.split() for one in unescape(found[1]).split(";")]
    policy = {name: values for name, *values in parts}
    assert policy["default-src"] == ["'none'"]
    own = hashlib.sha256(Reader(page).scripts[1].encode()).digest()
    assert policy["script-src"] == [f"'sha256-{base64.b64encode(own).decode()}'"]


def test_every_image_has_an_alternative_text_and_buttons_a_name(page: str) -> None:
    found = Reader(page)
    images = [attrs for tag, attrs in found.tags if tag == "img"]
    assert images and all("alt" in attrs for attrs in images)
    plots = [attrs for tag, attrs in found.tags if tag == "svg" and attrs.get("role") == "img"]
    assert plots and all(attrs.get("aria-label") for attrs in plots)


def test_differences_are_those_of_a_study(report: Report) -> None:
    (table,) = report.tables
    assert [line.row for line in table.lines] == ["base-class", "tricky"]
    found = table.lines[1].difference
    right = {
        row: {(0, seed): (np.arange(IMAGES) >= wrong + seed).astype(float) for seed in range(3)}
        for row, wrong in (("base-class", 20), ("tricky", 6))
    }
    expected = difference(
        right["tricky"], right["base-class"], spread_of_differences(list(right.values()))
    )
    assert found is not None
    assert (found.value, found.low, found.high) == (
        pytest.approx(expected.value),
        pytest.approx(expected.low),
        pytest.approx(expected.high),
    )
    assert found.value == pytest.approx(100 * 14 / IMAGES)
    assert table.best.row == "tricky"


def test_a_row_with_an_unfinished_draw_is_compared_over_the_common_runs(tmp_path: Path) -> None:
    wrong = {"base-class": 20, "tricky": 6, "random": 9}
    for row, seed in product(wrong, range(3)):
        write_run(tmp_path, row, seed=seed, wrong=wrong[row])
    write_run(tmp_path, "base-class", source="other", wrong=20)
    own = {row: [run for run in find_runs([tmp_path]).scored if run.row == row] for row in wrong}
    found = differences(own, base="base-class", shares=set())
    assert found["tricky"].value == pytest.approx(100 * 14 / IMAGES)
    assert found["tricky"].covers == "test images and training seeds", "of the other two rows"
    del own["random"], own["tricky"][1:]
    found = differences(own, base="base-class", shares={"tricky"})
    assert found["tricky"].covers == "test images", "no row has all seeds of all its draws"


def test_without_predictions_two_single_runs_are_compared_by_their_counts(
    out: Path, tmp_path: Path
) -> None:
    for row, wrong in (("base-class", 20), ("tricky", 6)):
        write_run(tmp_path, row, wrong=wrong, saves=False)
    (table,) = gather(out, runs=[tmp_path], own_command="").tables
    found = table.lines[1].difference
    assert found is not None and found.p is None
    assert found.low is not None and found.high is not None
    assert found.low < found.value < found.high


def test_a_repeated_training_counts_once(tmp_path: Path) -> None:
    for pixels in ("old", "new"):
        for seed in range(2):
            write_run(tmp_path, "base-class", seed=seed, pixels=pixels)
    for file in tmp_path.rglob("*-old/scores-*.json"):
        os.utime(file, (1, 1))
    found = find_runs([tmp_path])
    assert {run.pixels for run in found.scored} == {"new"} and len(found.scored) == 2
    assert "2 of 4 runs of base-class are left out" in found.notes[0]
    for pixels in ("new", "old"):
        write_run(tmp_path, "tricky", pixels=pixels)
    for file in tmp_path.rglob("tricky-*-old/scores-*.json"):
        os.utime(file, (1, 1))
    [note] = find_runs([tmp_path]).notes
    assert "3 of 6 runs of base-class, tricky are left out: out had other images" in note


def test_images_with_several_names_are_reported(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, "base-class", seed=seed, pixels=f"sample-{seed}")
    file = next(tmp_path.rglob("scores-*.json"))
    text = file.read_text().replace('"name": "photos-test"', '"name": "mine"')
    file.with_name("scores-mine.json").write_text(text)
    found = find_runs([tmp_path])
    assert (len(found.scored), found.reals) == (3, ["mine", "photos-test"])
    (note,) = found.notes
    assert "mine and photos-test are the same 60 images under 2 names" in note


def test_runs_on_other_images_have_rows_of_their_own(out: Path, tmp_path: Path) -> None:
    dataset = open_report_dataset(out)
    recorded = {"base-class": dict(dataset.manifest.configs["base-class"].sampling or {})}
    del recorded["base-class"]["seed"]
    other = {"base-class": {**recorded["base-class"], "num_inference_steps": 99}}
    rows = {}
    for name, changes in {
        "same": {"sampling": recorded},
        "twice-as-many": {"sampling": recorded, "num_images": 30},
        "more-steps": {"sampling": other},
        "part": {"sampling": recorded, "num_images": 6, "images_per_class": 2},
        "unknown": {"num_images": 30},
    }.items():
        [run] = find_runs([write_run(tmp_path, "base-class", source=name)]).scored
        training = {**(run.scores.training or {}), "data": {**run.data, **changes}}
        one = replace(run, scores=run.scores.model_copy(update={"training": training}))
        found = with_rows_of_their_own(Runs([one]), dataset)
        rows[name] = found.scored[0].row
        assert len(found.notes) == (rows[name] != "base-class")
    assert rows == {
        "same": "base-class",
        "twice-as-many": "base-class of twice-as-many",
        "more-steps": "base-class of more-steps",
        "part": "base-class",
        "unknown": "base-class",
    }
    known = {**(run.scores.training or {}), "data": {**run.data, "sampling": recorded}}
    both = [run, replace(run, scores=run.scores.model_copy(update={"training": known}))]
    split = [run.row for run in with_rows_of_their_own(Runs(both), dataset).scored]
    assert split == ["base-class (sampling not recorded)", "base-class"]


def test_seeds_with_samples_of_their_own_are_no_repetition(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "real", seed=seed, pixels=f"sample-{seed}")
    assert len(find_runs([tmp_path]).scored) == 3


def test_confused_images_are_shown_side_by_side(report: Report) -> None:
    matrix = next(one for one in report.matrices if one.row == "tricky")
    pair = matrix.pairs[0]
    assert pair.true != pair.predicted and pair.share > 0
    assert pair.mistaken and pair.own and pair.others
    assert sum(matrix.shares[0]) == pytest.approx(100, abs=0.3)


def test_near_duplicates_across_labels_come_first(report: Report, out: Path) -> None:
    dataset = open_report_dataset(out)
    columns = distributions(dataset)
    assert not {one.name for one in columns} & {OF, DIFFERENCE_HASH}
    assert {one.name for one in columns if one.measured} == {
        "near_duplicate",
        "near_duplicate_other_label",
    }
    (found,) = duplicates(dataset)
    assert found.compares == "pixels" and found.across and found.total > found.across
    flags = [pair.other_label for pair in found.pairs]
    assert flags == sorted(flags, reverse=True)
    assert found.pairs[0].first.label != found.pairs[0].second.label


def test_what_fell_short_is_listed(report: Report, page: str) -> None:
    facts = " ".join(one.fact for one in report.shortfalls)
    assert "The run begun has no scores" in facts
    assert "photos-test has only 60 test images" in facts
    assert "nearly repeat an image of another class" in facts
    assert "No gate has measured whether images show their class" in facts
    assert "The run begun has no scores" in page


def test_a_command_of_a_training_has_the_recorded_data_and_model(report: Report) -> None:
    run = report.runs.scored[0]
    training = {
        "model": "resnet18",
        "pretrained": True,
        "weights": "own.safetensors",
        "teacher": "runs/large",
        "model_args": {"drop_rate": 0.1},
        "mix": [0.8, 0.2],
        "preset": "finetune",
        "overrides": {
            **{"epochs": 5, "image_size": 32, "val_fraction": 0.25, "batch_size": 64},
            **{"opt_betas": [0.9, 0.99], "model_ema": True, "opt": "--push-to", "lr": ["--json"]},
            "augmentation": {"crop_scale": [0.5, 1.0], "horizontal_flip": 0.0, "rotation": 10},
        },
        "seed": 3,
        "hyperparameters": {"epochs": 5},
        "data": {
            "split": "train",
            "label_column": "breed",
            "sources": [
                {"reference": "out", "config_name": "tricky", "real": False},
                {"reference": "my photos", "config_name": "default", "real": True},
            ],
        },
    }
    mixed = replace(run, scores=run.scores.model_copy(update={"training": training}))
    groups = dict(commands(report.dataset, Runs([mixed]), [mixed.row], "data-factory report OUT"))
    (line,) = next(lines for title, lines in groups.items() if title.startswith("Train"))
    program, _, *words = shlex.split(line)
    assert program == "data-factory"
    options = options_of(build_parser().parse_args(words))
    assert (options.dataset, options.more_datasets) == ("out", ())
    assert (options.real_train, options.mix) == ("my photos", (0.8, 0.2))
    assert (options.config_name, options.split, options.label_column) == ("tricky", None, "breed")
    assert (options.model, options.model_args) == ("resnet18", {"drop_rate": 0.1})
    assert (str(options.weights), options.teacher) == ("own.safetensors", "runs/large")
    assert (options.preset, options.seed) == ("finetune", 3)
    assert options.overrides == {
        **{"epochs": 5, "image_size": 32, "val_fraction": 0.25, "batch_size": 64},
        **{"opt_betas": [0.9, 0.99], "model_ema": True},
    }, "values that are options are left out"
    assert options.augmentation == {
        **{"crop_scale": [0.5, 1.0], "horizontal_flip": 0.0, "rotation": 10},
    }


@pytest.mark.parametrize(
    ("values", "typed"),
    [
        ({"opt": ["sgd", "evil/set"], "aa": ["x"]}, []),
        ({"lr": [1, 2], "epochs": [3]}, []),
        ({"lr": [0.1]}, []),
        ({"opt_betas": [], "decay_milestones": "3"}, []),
        ({"opt_betas": [0.9, "--json"], "decay_milestones": [1.5]}, []),
        ({"epochs": "--push-to", "batch_size": 1.5, "lr": -1e-5, "momentum": float("nan")}, []),
        ({"opt_betas": [0.9], "decay_milestones": [3, 6]}, None),
        ({"epochs": 3, "lr": 1, "momentum": 1e-5, "opt": "sgd", "bce_loss": True}, None),
    ],
)
def test_only_values_that_can_be_typed_are_printed(
    values: dict[str, Any], typed: list[str] | None
) -> None:
    words = option_words(values, {})
    assert typed is None or words == typed
    if words:
        parsed = build_parser().parse_args(["SET", "--model", "m", "--out", "o", *words])
        assert preset_values(parsed) == (values, {})


def test_a_range_has_two_values() -> None:
    for scale, option in (
        ([0.5, 1], "--scale"),
        ([0.5], "--augment"),
        ([0.1, 0.2, 0.3], "--augment"),
    ):
        assert option_words({}, {"crop_scale": scale})[0] == option


def test_a_command_of_an_earlier_run_has_its_epochs(report: Report) -> None:
    earlier = [run for run in report.runs.scored if run.scores.training is not None]
    assert all("overrides" not in (run.scores.training or {}) for run in earlier)
    rows = list(dict.fromkeys(run.row for run in earlier))
    (lines,) = (
        lines
        for title, lines in commands(report.dataset, Runs(earlier), rows, "")
        if title.startswith("Train")
    )
    assert lines
    for line in lines:
        assert options_of(build_parser().parse_args(shlex.split(line)[2:])).overrides == {
            "epochs": 3
        }
    assert report.facts.lacks_overrides
    assert "did not record the values given" in render(report)


def test_sections_without_data_name_a_command(out: Path) -> None:
    page = render(gather(out, own_command=""))
    missing = re.findall(r'<p class="missing">(.*?)</p>', page, re.DOTALL)
    assert len(missing) >= 6
    assert all("<code>data-factory " in one for one in missing)


def test_the_page_of_thousands_of_images_stays_small(tmp_path: Path) -> None:
    """Bounded by the number of thumbnails times the bytes of each, whatever the images are."""
    for configs in (1, 3, 9, 40, 133, 134, 2000):
        most = sheets.per_config(configs)
        assert min(configs, sheets.MOST_IMAGES // most) * most <= sheets.MOST_IMAGES
    assert sheets.MOST_IMAGES * MAX_BYTES * 4 / 3 < 7e6
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    encoded = thumbnail(Image.fromarray(noise))
    assert len(encoded.src) < MAX_BYTES * 4 / 3 + 30
    assert len(sprite([Image.fromarray(noise)] * 1200).src) < 2.5e6


def test_a_real_dataset_of_many_images_gives_a_small_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The plot of features takes longest, and its size is another test's.
    monkeypatch.setattr(space, "MOST_SYNTHETIC", 100)
    recipes = [
        recipe(tmp_path, f"config-{number}", images_per_class=100, output={"size": 64})
        for number in range(2)
    ]
    settings = BuildSettings(batch_size=32, shard_size=256)
    build(
        recipes,
        tmp_path / "out",
        settings=settings,
        show_progress=False,
        renderer_factory=FakeRenderer,
    )
    found = gather(tmp_path / "out", own_command="")
    shown = sum(sheet.count for sheet in found.sheets.sheets)
    assert shown == 2 * sheets.MOST_PER_CONFIG
    assert sum(sheet.rows for sheet in found.sheets.sheets) == 600
    assert len(render(found).encode()) < 3e6


def test_only_the_row_groups_of_shown_images_are_read(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(out, tmp_path / "copy")
    for file in (copy / "data/base-class").glob("*.parquet"):
        pq.write_table(pq.read_table(file), file, row_group_size=2)
    read: list[int] = []
    group = pq.ParquetFile.read_row_group

    def counted(self: Any, number: int, **options: Any) -> Any:
        read.append(number)
        return group(self, number, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    assert set(open_report_dataset(copy).images("base-class", [2, 3, 6])) == {2, 3, 6}
    assert read == [1, 3]


def test_columns_of_strangers_may_have_any_type(out: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    for file in (copy / "data/tricky").glob("*.parquet"):
        table = pq.read_table(file)
        for name in ("d", "near_duplicate_of", "index", "label"):
            lists = pa.array([[NASTY, None]] * table.num_rows)
            table = table.set_column(table.schema.get_field_index(name), name, lists)
        pq.write_table(table, file)
    found = gather(copy, own_command="")
    assert {sheet.config: sheet.count for sheet in found.sheets.sheets}["tricky"] == 15
    assert "</script><img" not in render(found).replace("&lt;/script&gt;&lt;img", "")


def test_a_file_with_other_rows_than_listed_is_named(out: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    (file,) = (copy / "data/tricky").glob("train-00000-*.parquet")
    pq.write_table(pq.read_table(file).slice(1), file)
    with pytest.raises(UserError, match=f"{file.name}: has 7 rows; the manifest lists 8"):
        gather(copy, own_command="")


def test_predictions_that_do_not_fit_their_scores_are_not_used(tmp_path: Path) -> None:
    run = write_run(tmp_path, "base-class")
    file = run / "predictions-photos-test.parquet"
    whole = pq.read_table(file)
    (kept,) = find_runs([run]).scored
    assert kept.predictions is not None
    nulls = pa.array([None] * IMAGES, pa.float64())
    for damaged in (
        whole.slice(1),
        whole.drop_columns(["correct"]),
        whole.set_column(3, "correct", pa.array([True] * IMAGES)),
        whole.set_column(4, "probability", nulls),
        whole.set_column(4, "probability", pa.array([0.5] * (IMAGES - 1) + [float("nan")])),
    ):
        pq.write_table(damaged, file)
        (found,) = find_runs([run]).scored
        assert found.predictions is None


def test_rows_over_other_datasets_are_named(out: Path, tmp_path: Path) -> None:
    for row in ("base-class", "tricky", "third"):
        write_run(tmp_path, row)
    write_run(tmp_path, "tricky", source="elsewhere")
    facts = [one.fact for one in gather(out, runs=[tmp_path], own_command="").shortfalls]
    assert "tricky is the mean over datasets that other rows do not have: elsewhere." in facts


def test_files_outside_the_dataset_are_not_opened(out: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(out, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    shard = manifest["configs"]["base-class"]["shards"][0]
    shard["file"] = f"../../{out.parent.name}/out/{shard['file']}"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="outside the dataset"):
        gather(copy, own_command="")


@pytest.mark.parametrize("file", ["manifest.json", "data/base-class/train-00000-*.parquet"])
def test_links_out_of_the_dataset_are_not_followed(file: str, out: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(out, tmp_path / "copy")
    (path,) = copy.glob(file)
    path.unlink()
    path.symlink_to(out / path.relative_to(copy))
    with pytest.raises(UserError, match=f"{path.name}:? is (a link out of|outside the dataset)"):
        gather(copy, own_command="")


def test_links_out_of_a_run_are_not_followed(tmp_path: Path) -> None:
    there = write_run(tmp_path / "there", "tricky")
    here = write_run(tmp_path / "here", "base-class")
    (run,) = find_runs([tmp_path / "here"]).scored
    assert run.predictions is not None and read_metrics(here)
    for name in ("predictions-photos-test.parquet", "metrics.csv"):
        (here / name).unlink()
        (here / name).symlink_to(there / name)
    (run,) = find_runs([tmp_path / "here"]).scored
    assert run.predictions is None and not read_metrics(here)
    linked = here.parent / "linked"
    linked.mkdir()
    (linked / "scores-x.json").symlink_to(there / "scores-photos-test.json")
    found = find_runs([tmp_path / "here"])
    assert len(found.scored) == 1 and "scores-x.json: is a link out of" in found.notes[0]


def test_files_whose_rows_would_fill_the_memory_are_not_read(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(out, tmp_path / "copy")
    run = write_run(tmp_path, "base-class")
    (shard,) = (copy / "data/base-class").glob("train-00000-*.parquet")
    predictions = run / "predictions-photos-test.parquet"
    monkeypatch.setattr(size_limits, "SPARE_BYTES", 0)
    for path in (shard, predictions):
        rows = pq.read_table(path).num_rows
        label = pa.array(["x" * 1_000_000] * rows)
        table = pq.read_table(path)
        table = table.set_column(table.schema.get_field_index("label"), "label", label)
        pq.write_table(table, path, dictionary_pagesize_limit=1 << 22, compression="zstd")
    with pytest.raises(UserError, match=f"{shard.name}: its .* bytes would become more than"):
        gather(copy, own_command="")
    monkeypatch.setattr(pq, "read_table", lambda *_, **__: pytest.fail("it was read"))
    (found,) = find_runs([run]).scored
    assert found.predictions is None


def test_the_command_writes_the_page_and_a_static_space(
    out: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, space = tmp_path / "page.html", tmp_path / "space"
    words = ["report", str(out), "--runs", str(runs), "--out", str(file)]
    main([*words, "--static-space", str(space), "--json", "--quiet"])
    told = json.loads(capsys.readouterr().out)
    assert told["out"] == str(file) and told["bytes"] == file.stat().st_size
    assert {row["row"] for row in told["rows"]} == {"base-class", "tricky"}
    header = yaml.safe_load((space / "README.md").read_text().split("---")[1])
    assert header["sdk"] == "static" and header["app_file"] == "index.html"
    assert (space / "index.html").read_bytes() == file.read_bytes()


def test_by_default_it_is_a_file_of_the_dataset_that_verify_knows(out: Path) -> None:
    main(["report", str(out), "--quiet"])
    try:
        assert (out / "report.html").is_file()
        assert verify_set(out, show_progress=False).whole
    finally:
        (out / "report.html").unlink()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: directory not found; name a directory that"),
        (["EMPTY"], ": is not a dataset directory (no manifest.json); name a"),
        (["OUT", "--runs", "nowhere"], "--runs nowhere: not found"),
        (["OUT", "--runs", "EMPTY"], "contains no scores"),
        (["OUT", "--runs", "RUNS", "--base", "x"], "--base x: no such row"),
    ],
)
def test_mistakes_are_one_clear_line(
    words: list[str], message: str, out: Path, runs: Path, tmp_path: Path
) -> None:
    places = {"OUT": str(out), "RUNS": str(runs), "EMPTY": str(tmp_path)}
    with pytest.raises(UserError, match=re.escape(message)):
        main(["report", *(places.get(word, word) for word in words), "--quiet"])


def test_settings_of_any_type_and_size_are_text() -> None:
    given = (7.5, {"uniform": [1.0, 5.0]}, {"uniform": [1, "x"]}, 10**400)
    texts = [quantity_text(one) for one in given]
    assert texts[:3] == ["7.5", "1 to 5", '{"uniform": [1, "x"]}'] and len(texts[3]) == 401


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert ticks(0.31, 2.6) == [0.5, 1.0, 1.5, 2.0, 2.5]
    assert ticks(3, 3) == [3]
    for last, expected in ((3, ["1", "2", "3"]), (11, ["2", "4", "6", "8", "10"])):
        epochs = [Series("a", [(float(epoch), 1.5) for epoch in range(1, last + 1)])]
        drawn = line_chart(epochs, x_label="Epoch", y_label="")
        assert [tick.text for tick in drawn.x_ticks] == expected
    rise = [Series("a", [(1.0, 10.0), (2.0, 15.0)])]
    assert line_chart(rise, x_label="", y_label="", from_zero=True).y_ticks[0].text == "0"


@pytest.fixture(scope="module")
def opened(page: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not (CHROMIUM and DRIVER):
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("browser")
    file = folder / "report.html"
    file.write_text(page, encoding="utf-8")
    with browser(folder / "profile") as started:
        started.open(file)
        yield started


def test_a_browser_shows_the_page_without_any_message(opened: Browser) -> None:
    assert opened.run("return document.title").endswith("dataset report")
    assert opened.run("return document.querySelectorAll('.thumb').length") > 10
    assert opened.messages() == []


def test_a_click_shows_a_row_and_keys_go_on(opened: Browser) -> None:
    opened.click(".sheet:not([hidden]) .thumb")
    assert opened.run("return document.getElementById('row').open")
    cells = opened.run("return document.getElementById('row-cells').innerText")
    assert "seed" in cells and "guidance_scale" in cells
    first = opened.run("return document.getElementById('row-command').textContent")
    assert first == "data-factory replay OUT --config base-class --index 0"
    opened.type("#row-after", "\ue014")
    assert opened.run("return document.getElementById('row-command').textContent") != first
    opened.type("#row-after", "\ue00c")
    assert not opened.run("return document.getElementById('row').open")
    assert opened.run("return document.activeElement.classList.contains('thumb')")


def shown(opened: Browser) -> list[str]:
    found: list[str] = opened.run(
        "return [...document.querySelectorAll('.sheet .thumb')].filter(one => "
        "one.offsetParent !== null).map(one => one.querySelector('img').alt)"
    )
    return found


def choose(opened: Browser, field: str, value: str) -> None:
    opened.run(
        "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
        "field.dispatchEvent(new Event('input', {bubbles: true}));",
        field,
        value,
    )


def test_images_are_filtered_by_config_class_and_value(opened: Browser) -> None:
    choose(opened, "by-config", "")
    everything = shown(opened)
    assert len(everything) == 30
    choose(opened, "by-class", NASTY)
    assert 0 < len(shown(opened)) < 30 and all(NASTY in alt for alt in shown(opened))
    opened.click("#filters button[type=reset]")
    choose(opened, "by-config", "tricky")
    choose(opened, "by-column", "d")
    opened.type("#by-value", "plain")
    assert 0 < len(shown(opened)) < 15
    assert opened.run("return document.getElementById('matches').textContent").split()[0] == str(
        len(shown(opened))
    )
    opened.click("#filters button[type=reset]")
    assert opened.messages() == []


def test_a_bar_of_a_distribution_chooses_its_images(opened: Browser) -> None:
    opened.click("rect.pick")
    assert ".." in opened.run("return document.getElementById('by-value').value")
    assert shown(opened)
    opened.click("#filters button[type=reset]")


def test_it_fits_a_phone_and_a_dark_screen(opened: Browser) -> None:
    opened.resize(500, 900)
    wide = opened.run("return document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, "the page itself does not scroll sideways"
    light = opened.run("return getComputedStyle(document.body).backgroundColor")
    opened.run("document.documentElement.dataset.theme = 'dark'")
    assert opened.run("return getComputedStyle(document.body).backgroundColor") != light
    opened.resize(1280, 1000)


def test_the_largest_real_dataset_leads(tmp_path: Path) -> None:
    def table(real: str, images: int, top1: float) -> headline.Table:
        line = headline.Line("row", 1, None, top1, None, None, None, None, top1, None)
        return headline.Table(real, images, "model", None, [line], {"row"})

    few, many = table("few", 8, 50.0), table("many", 48, 45.8)
    assert page_module._best(SimpleNamespace(tables=[few, many]))[0] is many  # type: ignore[arg-type]


def test_an_unreadable_photo_is_left_out_on_request(
    out: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = shutil.copytree(photos, tmp_path / "photos")
    (real / "1.png").write_bytes((real / "1.png").read_bytes()[:60])
    words = ["report", str(out), "--quiet", "--out", str(tmp_path / "page.html")]
    words += ["--real", str(real / "metadata.csv"), "--real-label-column", "label"]
    with pytest.raises(UserError, match=r"1\.png.*--skip-unreadable"):
        main(words)
    main([*words, "--skip-unreadable"])
    assert "1.png" in capsys.readouterr().err
    assert (tmp_path / "page.html").is_file()
