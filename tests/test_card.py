"""The card: a header that the Hub's parser accepts, and a body that describes the dataset."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet
import pytest
import write_cards
from build_parts import LABELS, SETTINGS, FakeRenderer, combination, recipe
from damaged_sets import manifest_of
from huggingface_hub import DatasetCard, DatasetCardData
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from factory.builder.build import build
from factory.card import header as card_header
from factory.card import page
from factory.card.images import write_images
from factory.card.licences import licence_fields
from factory.card.page import _HUB_NOTES, REPLACED, at_home, facts
from factory.card.plots_ahead import plot_distributions
from factory.card.reader_files import publish
from factory.card.spreads import spreads
from factory.cli.main import main
from factory.common.errors import UserError
from factory.inspection.verify import verify_set
from factory.planner.plan import plan
from factory.planner.sampling_summary import sampling_summary, sampling_texts
from factory.recipe.library import load_recipe
from factory.shards.manifest import Manifest, read_manifest
from factory.shards.settings import fix
from factory.sharing.push_dataset import set_files


def generate(recipes: Any, out: Path) -> DatasetCard:
    build(recipes, out, settings=SETTINGS, show_progress=False, renderer_factory=FakeRenderer)
    return DatasetCard.load(out / "README.md")


@pytest.fixture
def card(tmp_path: Path) -> DatasetCard:
    base = recipe(tmp_path, "zebra", summary="Plain | simple", source="section 3.1")
    domain = recipe(
        tmp_path,
        "domain",
        prompt=[{"text": "a {d} of a {class}", "weight": 3}, "{class}"],
        variables={"d": ["photo", "sketch"]},
    )
    both = combination(tmp_path, "all", ["zebra", "domain"])
    return generate([base, domain, both], tmp_path / "out")


def test_the_header_lists_sets_before_combinations(card: DatasetCard) -> None:
    configs = card.data.to_dict()["configs"]
    assert [one["config_name"] for one in configs] == ["domain", "zebra", "all"]
    assert [one.get("default") for one in configs] == [True, None, None]
    paths = [one["data_files"][0]["path"] for one in configs]
    assert [file[:23] for file in paths[0]] == [
        "data/domain/train-00000",
        "data/domain/train-00001",
    ]
    assert paths[2] == [*paths[1], *paths[0]], "the files of its members, and nothing beside them"
    assert len({one["description"] for one in configs}) == 3
    assert card.data.task_categories == ["image-classification"]
    assert card.data.size_categories == ["n<1K"]


def test_marks_in_names_are_shown_not_obeyed(tmp_path: Path) -> None:
    names = ["<img src=x>", "[a](b)", "|c|"]
    text = generate([recipe(tmp_path, "base", classes=names)], tmp_path / "out").text
    assert "# Synthetic images: \\<img src=x>, \\[a\\](b), \\|c\\|\n" in text
    assert "\n\\<img src=x>, \\[a\\](b), \\|c\\|\n" in text
    assert verify_set(tmp_path / "out").whole
    found = read_manifest(tmp_path / "out")
    assert found is not None
    lines = facts(found.model_copy(update={"device": "cpu\n\n# Heading <b>"}))
    assert "- Device: cpu # Heading \\<b>" in lines


def test_the_body_contains_counts_prompts_and_provenance(card: DatasetCard) -> None:
    text = card.text
    assert "# Synthetic images: cat, dog, ship\n" in text
    assert "30 images, 3 classes, 3 configs." in text
    assert "| `zebra` | 15 | 5 | a {class} |\n" in text
    own = "the model's own | the model's own"
    sampling = f"uniform from 1 to 5 | 2 | {own} | 8 x 8, bilinear, anti-aliased, png"
    assert f"| `zebra` | {sampling} | independent | 0 |\n" in text
    assert "| `all` | 30 | 10 |" in text
    assert "a {d} of a {class} (75%); {class} (25%)" in text
    assert "| `domain` | d | one of 'photo', 'sketch' |" in text
    assert "| `zebra` | tests/none | " + "0" * 40 in text
    assert "batch_size 4, shard_size 8, dtype " in text
    assert "network evaluations for 30 images" in text
    assert "Plain \\| simple (source: section 3.1)" in text


def test_a_build_writes_its_card_without_reading_its_recipes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = page.stored_recipes
    read: list[str] = []

    def watched(out: Any, configs: Any) -> Any:
        read.extend(configs)
        return reading(out, configs)

    monkeypatch.setattr(page, "stored_recipes", watched)
    base = recipe(tmp_path, "zebra", summary="Plain | simple")
    small = {"d": {"normal": {"mean": 0, "std": 1e-05}}}
    twice = recipe(tmp_path, "twice", variables=small, prompt="a {d} {class}")
    out = tmp_path / "out"
    generate([base, twice, combination(tmp_path, "all", ["zebra", "twice"])], out)
    assert read == []
    files = ("README.md", page.SHEET)
    written = {name: (out / name).read_bytes() for name in files}
    publish(out, card=True)
    assert read == ["twice", "zebra", "all"]
    assert written == {name: (out / name).read_bytes() for name in files}
    generate(recipe(tmp_path, "later"), out)
    assert sorted(read[3:]) == ["all", "twice", "zebra"]


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ({}, "as generated, png"),
        ({"size": 64, "resample": "bicubic", "format": "webp"}, "as generated, webp"),
        ({"size": 32}, "32 x 32, bilinear, anti-aliased, png"),
        ({"size": 32, "antialias": False}, "32 x 32, bilinear, not anti-aliased, png"),
        ({"size": 32, "resample": "nearest"}, "32 x 32, nearest, not anti-aliased, png"),
        ({"size": [32, 64], "resample": "area"}, "64 x 32, area, anti-aliased, png"),
        ({"size": 32, "resample": "lanczos"}, "32 x 32, lanczos, anti-aliased, png"),
        ({"size": 96}, "96 x 96, bilinear, not anti-aliased, png"),
    ],
)
def test_texts_describe_the_resize(tmp_path: Path, output: Any, text: str) -> None:
    """The embedded model generates 64 x 64 pixels."""
    base = recipe(tmp_path, "base", model={"id": "embedded"}, output=output)
    assert sampling_texts(base, sampling_summary(base))["output"] == text


def test_the_sampling_summary_is_plain_json(tmp_path: Path) -> None:
    model = {"id": "embedded", "scheduler_config": {"timestep_spacing": "leading"}}
    once = {"guidance_scale": {"once": {"integers": [1, 5]}}, "num_inference_steps": 3, "seed": 7}
    base = recipe(tmp_path, "base", model=model, sampling=once)
    summary = sampling_summary(base)
    assert json.loads(json.dumps(summary)) == summary
    assert summary["guidance_scale"] == {"once": {"integers": [1, 5]}}
    assert (summary["num_inference_steps"], summary["seed"]) == (3, 7)
    assert (summary["height"], summary["width"]) == (64, 64)
    texts = sampling_texts(base, summary)
    assert texts["scheduler"] == "DPMSolverMultistepScheduler with timestep_spacing=leading"
    (first,) = plan(base).rows(0, 1)
    assert texts["guidance"].startswith(f"{first.guidance_scale:g}, once for all images: ")


def test_the_fingerprint_follows_the_shards(tmp_path: Path) -> None:
    def fingerprint(count: int) -> str:
        sized = recipe(tmp_path, "base", images_per_class=count)
        configs = generate(sized, tmp_path / "out").data.to_dict()["configs"]
        return str(configs[0]["description"])

    first = fingerprint(2)
    assert fingerprint(2) == first
    assert fingerprint(3) != first


def test_a_card_does_not_depend_on_the_directory(tmp_path: Path) -> None:
    generate(recipe(tmp_path, "base"), tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    before = (tmp_path / "two/README.md").read_bytes()
    generate(recipe(tmp_path, "base"), tmp_path / "two")
    assert (tmp_path / "two/README.md").read_bytes() == before


@pytest.mark.parametrize("home", [b"path/to/this/directory", b"first/home"])
@pytest.mark.parametrize("note", _HUB_NOTES)
def test_a_card_for_the_hub_changes_only_its_loading_example(home: bytes, note: str) -> None:
    end = b'load_dataset("their/own", "by hand") \xe9\r\n'
    text = (
        b'see load_dataset("their/own")\r\n## Load it\r\n\r\nload_dataset("%s", "base")\r\n'
        b'With timm: `create_dataset("hfds/%s", root=None)`.%s\r\n\r\n## Configs\r\n'
    )
    expected = text % (b"second/home", b"second/home", b"") + end
    assert at_home(text % (home, home, note.encode()) + end, "second/home") == expected
    assert at_home(b"# A card of one's own\n", "second/home") == b"# A card of one's own\n"


def test_dataset_info_contains_features_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    out = tmp_path / "out"
    for count in (2, 4):
        generate(recipe(tmp_path, "base", images_per_class=count), out)
        info = datasets.load_dataset_builder(str(out)).info
        assert info.features["label"].names == LABELS
        loaded = datasets.load_dataset(str(out), split="train")
        assert loaded.features == info.features
        assert len(loaded) == 3 * count


def test_metadata_is_whole_and_valid(card: DatasetCard) -> None:
    data = card.data
    assert isinstance(data, DatasetCardData)
    assert (data.license, data.to_dict()["license_name"]) == ("other", "model-terms")
    assert data.task_ids == ["multi-class-image-classification"]
    assert data.pretty_name == "Synthetic images: cat, dog, ship"
    resources = Path(datasets.utils.__file__).parent / "resources"
    sizes = json.loads((resources / "size_categories.json").read_text())
    assert {name for _, name in card_header._SIZES} | {"n>1T"} <= set(sizes)
    creators = json.loads((resources / "creators.json").read_text())
    assert set(data.annotations_creators or ()) <= set(creators["annotations"])
    again = DatasetCard(str(card))
    assert again.data.to_dict() == data.to_dict()
    parsed = datasets.info.DatasetInfosDict.from_dataset_card_data(data)
    assert list(parsed) == ["domain", "zebra", "all"]
    assert parsed["all"].features == parsed["zebra"].features
    # Counts without sizes would make `load_dataset` warn at every reading.
    assert parsed["all"].splits is None


@pytest.mark.parametrize(
    ("models", "fields"),
    [
        (["embedded"], {"license": "other", "license_name": "research-data"}),
        (
            ["embedded", "CompVis/stable-diffusion-v1-4"],
            {"license": ["other", "creativeml-openrail-m"], "license_name": "research-data"},
        ),
        (["black-forest-labs/FLUX.1-schnell"], {"license": "apache-2.0"}),
        (["embedded", "a/b"], {"license": "other", "license_name": "model-terms"}),
    ],
)
def test_the_licence_is_the_models(models: list[str], fields: dict[str, Any]) -> None:
    assert licence_fields(models) == fields


def test_contact_sheet_shows_stored_images(tmp_path: Path) -> None:
    base = recipe(tmp_path, "base", images_per_class=3)
    generate(base, tmp_path / "out")
    sheet = np.asarray(Image.open(tmp_path / "out/card/contact-sheet.jpg"), dtype=np.int64)
    last = plan(base).rows(8, 9)[0]  # label 2, number 2: the last cell
    (image,) = FakeRenderer(base).render([last], batch_size=1)
    cell = np.asarray(Image.fromarray(image).resize((112, 112), Image.Resampling.NEAREST))
    height, width, _ = sheet.shape
    found = sheet[height - 118 : height - 6, width - 118 : width - 6]
    assert np.abs(found - cell).mean() < 12  # JPEG


def test_failed_images_stay_white(tmp_path: Path) -> None:
    generate(recipe(tmp_path, "base", images_per_class=3), tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    path = tmp_path / "out" / manifest.configs["base"].shards[0].file
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).slice(1), path)
    recipes = [load_recipe(str(tmp_path / "base.yaml"))]
    assert "card/contact-sheet.jpg" in write_images(tmp_path / "out", manifest, recipes)
    sheet = np.asarray(Image.open(tmp_path / "out/card/contact-sheet.jpg"))
    cell = sheet[-3 * 118 : -2 * 118 - 6, -3 * 118 : -2 * 118 - 6]
    assert cell.min() > 240


def test_plots_count_the_plan_and_are_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = recipe(tmp_path, "plain", sampling={"guidance_scale": 3, "num_inference_steps": 2})
    assert plot_distributions([plain]) is None
    varied = [
        plain,
        recipe(tmp_path, "one", images_per_class=10**9, prompt="{d}", variables={"d": ["$a", "$"]}),
        recipe(tmp_path, "two", prompt="{n}", variables={"n": {"uniform": [1, 9]}}),
    ]
    numbers, named = spreads(varied)
    assert [name for name, _ in numbers] == ["guidance_scale".replace("_", " ")]
    assert [one.varies for one in numbers[0][1]] == [False, True, True]
    assert len(numbers[0][1][1].values) == 2000
    assert [(name, one.configs) for name, one in named] == [("d", ("one",)), ("n", ("two",))]
    generated = plot_distributions(varied)
    assert generated is not None
    assert b"Software" not in generated

    def saved(canvas: FigureCanvasAgg, file: Any, *, metadata: Any) -> None:
        monkeypatch.undo()
        canvas.figure.savefig(file, format="png", metadata=metadata)

    monkeypatch.setattr(FigureCanvasAgg, "print_png", saved)
    assert generated == plot_distributions(varied)


def scores_file(folder: Path, **changes: Any) -> Path:
    data = {
        "config_name": "base",
        "label_names": LABELS,
        "row_filter": None,
        "num_images": 15,
    }
    content = {
        "format": "data-factory/scores",
        "format_version": 1,
        "model": {"architecture": "resnet18", "weights_sha256": "f" * 64},
        "training": {"seed": 3, "data": data | changes},
        "real": {"name": "zoo", "num_images": 200},
        "metrics": {"top1": 0.5, "top1_low": 0.43, "top1_high": 0.57},
    }
    path = folder / "scores-zoo-test.json"
    path.write_text(json.dumps(content))
    return path


def test_scores_are_kept_while_the_rows_are_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    generate(recipe(tmp_path, "base"), out)
    before = (out / "README.md").read_text()
    assert "## Scores" not in before
    main(["card", str(out), "--scores", str(scores_file(tmp_path))])
    row = "| zoo (200) | resnet18 | `base` | 3 | 50.00 | 43.00 to 57.00 |"
    assert row in (out / "README.md").read_text()
    assert verify_set(out, show_progress=False).whole
    generate(recipe(tmp_path, "base"), out)
    capsys.readouterr()
    main(["card", str(out), "--scores", str(tmp_path), str(tmp_path)])
    assert capsys.readouterr().err == (
        "several files after one --scores are now written "
        f"--scores {tmp_path} --scores {tmp_path}\n"
    )
    assert (out / "README.md").read_text().count(row) == 1
    generate(recipe(tmp_path, "base", images_per_class=6), out)
    assert "## Scores" not in (out / "README.md").read_text()
    assert verify_set(out, show_progress=False).whole
    assert "scores.json" not in set_files(out, manifest_of(out))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config_name": "other"}, "trained on config other, which this dataset does not have"),
        ({"label_names": ["a"]}, "trained on other classes"),
        ({"num_images": 14}, "trained on 14 images, but base has 15"),
        ({"row_filter": "x > 1"}, "chosen by --filter x > 1"),
    ],
)
def test_scores_of_other_rows_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    generate(recipe(tmp_path, "base"), tmp_path / "out")
    path = scores_file(tmp_path, **changes)
    with pytest.raises(UserError, match=message):
        main(["card", str(tmp_path / "out"), "--scores", str(path)])


def test_files_without_scores_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="is not a dataset"):
        main(["card", str(tmp_path)])
    generate(recipe(tmp_path, "base"), out)
    held = {"{": "is not valid JSON", "[]": "contains no scores", None: "file not found"}
    for text, message in held.items():
        path = tmp_path / "scores-x.json"
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        with pytest.raises(UserError, match=message):
            main(["card", str(out), "--scores", str(path)])
    with pytest.raises(UserError, match=r"contains no scores-\*.json"):
        main(["card", str(out), "--scores", str(out)])


def test_cards_of_packaged_sets_are_current() -> None:
    assert write_cards.stale(write_cards.packaged_dir("dataset_cards")) == [], "run `make cards`"


def test_a_planned_card_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_cards, "set_names", lambda: ["quickstart"])
    text = write_cards.card_text("quickstart")
    assert "**This dataset is not built yet.**" in text
    assert "4,000 images, 10 classes, 5 configs." in text
    assert "## Scores" not in text
    assert "Device" not in text
    assert DatasetCard(text).data.license == "other"
    (tmp_path / "gone.md").write_text("a set that is no more")
    written = write_cards.write(tmp_path)
    assert write_cards.stale(tmp_path) == []
    assert not (tmp_path / "gone.md").exists()
    written[0].write_text("edited")
    assert write_cards.stale(tmp_path) == [written[0]]


def test_a_sheet_of_images_of_noise_can_be_written(tmp_path: Path) -> None:
    """Noise is the output of an untrained model, and compresses worst as JPEG."""
    noisy = recipe(tmp_path, "noise", output={"size": 64}, images_per_class=20)
    build(
        noisy,
        tmp_path / "out",
        settings=SETTINGS,
        show_progress=False,
        renderer_factory=FakeRenderer,
    )
    assert (tmp_path / "out" / "card" / "contact-sheet.jpg").stat().st_size > 10_000


def test_notes_below_the_line_stay_and_changes_above_it_are_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, out = recipe(tmp_path, "base"), tmp_path / "out"
    generate(base, out)
    path = out / "README.md"
    fresh = path.read_text()
    path.write_text(fresh + "\n## Ours\n\nAsk Ann.\n")
    generate(recipe(tmp_path, "base", images_per_class=7), out)
    grown = path.read_text()
    assert grown.endswith("\n## Ours\n\nAsk Ann.\n") and "21 images" in grown
    assert verify_set(out).whole and not (out / REPLACED).exists()

    path.write_text(grown.replace("## Limits and bias", "## Limits, bias and us"))
    capsys.readouterr()
    generate(recipe(tmp_path, "base", images_per_class=8), out)
    assert path.read_text().endswith("\n## Ours\n\nAsk Ann.\n")
    assert "Limits, bias and us" in (out / REPLACED).read_text()
    assert "was edited by hand" in capsys.readouterr().err
    assert verify_set(out).whole and REPLACED not in set_files(out, read_manifest(out))


def test_every_text_of_people_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, out = recipe(tmp_path, "base"), tmp_path / "out"
    generate(base, out)
    path = out / "README.md"
    fresh = path.read_bytes()
    edits = [fresh.replace(b"## Limits", b"## %b limits" % word) for word in (b"Our", b"\xff")]
    for edit in (*edits, edits[0]):
        path.write_bytes(edit)
        main(["card", str(out)])
        assert path.read_bytes() == fresh
    kept = [(out / name).read_bytes() for name in (REPLACED, ".README.replaced-2.md")]
    assert kept == edits and len(list(out.glob(".README*"))) == 2

    def keep(out: Path, replaced: bytes) -> str:
        monkeypatch.undo()
        path.write_bytes(fresh + b"\nAsk Ann.\n")
        return REPLACED

    path.write_bytes(edits[0])
    monkeypatch.setattr("factory.card.page._keep", keep)
    main(["card", str(out)])
    assert path.read_text().endswith("-->\n\nAsk Ann.\n"), "written while the card was replaced"


def test_many_class_names_are_in_a_card_once_at_most() -> None:
    labels = [f"n{number:08d} a class of a large taxonomy" for number in range(21_841)]
    entry = {"kind": "set", "fingerprint": "f", "images": 21_841, "images_per_class": 1}
    entry |= {"model": "m", "revision": None, "complete": True}
    shard = {"rows": 21_841, "sha256": "0"}
    names = [f"c{number}" for number in range(7)]

    def header(labels: list[str]) -> str:
        manifest = Manifest.model_validate(
            {
                "settings": fix(SETTINGS, recorded=None, device="cpu", out="out"),
                "device": "cpu",
                "versions": [],
                "labels": labels,
                "variables": {},
                "configs": {
                    name: entry | {"shards": [shard | {"file": f"data/{name}/train-00000-0"}]}
                    for name in names
                },
            }
        )
        return card_header.to_yaml(card_header.built_fields(manifest))

    assert header(labels[:500]).count(labels[7]) == 1
    large = header(labels)
    assert len(large) < 5_000 and labels[7] not in large
