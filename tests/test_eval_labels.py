"""Matching of classes by name."""

import difflib
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from PIL import Image

from eval.labels import match_labels, match_real
from eval.real import open_real
from factory.common.errors import UserError
from factory.data import label_map
from factory.data.label_map import LabelMap, UnmatchedLabelsError, read_labels
from factory.data.open import OpenedDataset
from factory.data.row_filter import filter_rows, is_comparable
from factory.data.row_subsets import check_labels

EUROSAT = yaml.safe_load(
    (Path(__file__).parent.parent / "recipes" / "classes" / "eurosat-labels.yaml").read_text()
)
# Names of a published EuroSAT whose spelling no rule overcomes.
PUBLISHED = [
    *("Annual Crop", "Forest", "Herbaceous Vegetation", "Highway", "Industrial Buildings"),
    *("Pasture", "Permanent Crop", "Residential Buildings", "River", "Sea or Lake"),
]


def match(model, real, present=None, pairs=None):
    ids = range(len(real)) if present is None else present
    labels = LabelMap(pairs, "map.yaml") if pairs is not None else None
    return match_labels(model, real, present=set(ids), model="run", real="set", labels=labels)


@pytest.mark.parametrize("split", ["", "test"])
def test_a_folder_above_the_class_folders_gets_no_label_map(tmp_path, split):
    folder = tmp_path / "pets" / split / "holiday"
    for name in ("Cat", "dog", "others"):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(folder / name / "1.png")
    message = rf"pets: its folders holiday are not classes, .* folders Cat, dog; .*: {folder}$"
    opened = open_real(tmp_path / "pets")
    with pytest.raises(UserError, match=message):
        match_real(["cat", "dog"], opened, model="run")
    message = rf"of one class \(holiday\); if .*, name the folder {folder}$"
    with pytest.raises(UserError, match=message):
        check_labels(opened.opened)
    other = tmp_path / "pets" / split / "work" / "Cat"
    other.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(other / "1.png")
    with pytest.raises(UserError, match=f"these: {folder} or {other.parent}$"):
        match_real(["cat", "dog"], open_real(tmp_path / "pets"), model="run")
    # Without the names of classes it is a label like others.
    wanted = """with --filter "label != 'holiday'"\\."""
    with pytest.raises(UnmatchedLabelsError, match=wanted):
        match_real(["emu", "ox"], opened, model="run")


@pytest.mark.parametrize(
    ("column", "advice"),
    [
        ("label", 'leave them out with --filter "label >= 0"'),
        ("fine label", "remove them, or rename 'fine label': --filter cannot compare"),
        ("class", "remove them, or rename 'class': --filter cannot compare"),
    ],
)
def test_rows_without_a_label_are_named_with_a_filter_that_works(column, advice):
    features = datasets.Features({column: datasets.ClassLabel(names=["cat", "dog"])})
    rows = datasets.Dataset.from_dict({column: [0, -1, 1]}, features=features)
    opened = OpenedDataset(
        rows, "image", column, label_names=[], reference="set", config_name="a", split="train"
    )
    with pytest.raises(UserError, match="1 row without a label, the first is row 1") as caught:
        check_labels(opened)
    assert advice in str(caught.value)
    if is_comparable(column):
        assert filter_rows(rows, f"{column} >= 0")[column] == [0, 1]


def test_other_order_is_mapped():
    found = match(["cat", "dog", "emu"], ["emu", "cat", "dog"])
    assert found.names == ["emu", "cat", "dog"]
    assert found.model_indices == [2, 0, 1]
    assert found.real_indices == [0, 1, 2]
    assert (found.num_real, found.how) == (3, "exact")


def test_further_classes_of_the_model_come_last():
    found = match(["ant", "bee", "cat"], ["cat"])
    assert (found.names, found.num_real) == (["cat", "ant", "bee"], 1)
    assert found.model_indices == [2, 0, 1]


def test_spelling_is_overlooked_only_if_names_stay_apart():
    found = match(["annual_crop", "sea-lake"], ["SeaLake", "AnnualCrop"])
    assert (found.model_indices, found.how) == ([1, 0], "spelling")
    with pytest.raises(UserError, match="has no class for 'AB'"):
        match(["a_b", "ab"], ["AB"])


def test_names_match_in_every_form_of_unicode():
    names = ["caf\u00e9", "ice cream", "cat"]
    # As macOS names folders, with a space that does not break, with a space of no width.
    found = match(names, ["cafe\u0301", "ice\u00a0cream", "cat\u200b"])
    assert (found.model_indices, found.how) == ([0, 1, 2], "spelling")
    assert match(["cafe\u0301", "caf\u00e9"], ["caf\u00e9"]).model_indices == [1, 0]


def test_class_without_images_needs_no_match():
    found = match(["cat"], ["yak", "cat"], present=[1])
    assert found.real_indices == [None, 0]
    assert found.names == ["cat"]


def test_mismatch_names_both_sides_and_suggests_a_map():
    with pytest.raises(UserError) as caught:
        match(["airplane", "ship"], ["aeroplane", "ship"])
    assert str(caught.value) == (
        "run has no class for 'aeroplane' of set; only the model has 'airplane'; "
        "write a label map (--suggest-labels FILE writes one) "
        "and pass it with --labels FILE, or exclude those images with "
        "--filter. Suggested lines for the map (most similar names; check each):\n"
        "aeroplane: airplane"
    )


def test_the_suggested_map_of_a_published_dataset_is_right(tmp_path):
    with pytest.raises(UserError, match="has no class for 'Industrial Buildings'") as caught:
        match(EUROSAT, PUBLISHED)
    path = tmp_path / "map.yaml"
    path.write_text(str(caught.value).partition("\n")[2])
    found = match(EUROSAT, PUBLISHED, pairs=read_labels(path).pairs)
    assert [found.model_indices[place] for place in found.real_indices] == list(range(10))
    assert (found.how, found.map["Sea or Lake"], found.merged) == ("map", "SeaLake", [])
    assert found.names[:5] == [*PUBLISHED[:4], "Industrial"]


def test_a_class_is_suggested_once_and_nothing_far(tmp_path):
    with pytest.raises(UserError) as caught:
        match(["bee", "sea-gull"], ["sea gulls", "seagulls", "on"])
    suggested = str(caught.value).partition("\n")[2]
    assert suggested == "sea gulls: sea-gull\nseagulls: '?'\n'on': '?'"
    path = tmp_path / "map.yaml"
    path.write_text(suggested)
    with pytest.raises(UserError) as caught:
        read_labels(path)
    assert str(caught.value).splitlines() == [
        f"{path}: {label}: is still '?'; fill in a class, or remove the line"
        for label in ("seagulls", "on")
    ]


def test_synonyms_and_plurals_come_before_similar_spellings(tmp_path):
    model = ["tench, Tinca tinca", "goldfish, Carassius auratus", "bus", "horse", "city", "cat"]
    model += ["F/A-18", "sea snake", "boats", "bee"]
    real = ["Carassius_auratus", "Tinca Tinca, doctor fish", "BUSES", "Horses", "cities", "cart"]
    real += ["cats", "F/A-18s", "sea_snakes", "boat", "x" * 150, "honey Bee", "bumble-bee"]
    with pytest.raises(UnmatchedLabelsError) as caught:
        match(model, real)
    suggested = caught.value.suggested
    assert suggested == {
        "Carassius_auratus": model[1],
        "Tinca Tinca, doctor fish": model[0],
        "BUSES": "bus",
        "Horses": "horse",
        "cities": "city",
        "cart": "?",
        "cats": "cat",
        "F/A-18s": "F/A-18",
        "sea_snakes": "sea snake",
        "boat": "boats",
        "x" * 150: "?",
        "honey Bee": "bee",
        "bumble-bee": "bee",
    }
    path = tmp_path / "map.yaml"
    path.write_text(
        str(caught.value).partition("\n")[2].replace("'?'", "bus").replace(": ?", ": bus")
    )
    assert read_labels(path).pairs == {
        label: "bus" if name == "?" else name for label, name in suggested.items()
    }


def test_several_labels_may_share_a_class():
    pairs = {"pickup": "truck", "lorry": "truck", "F/A-18": "F-16A/B", "a/b": "F-16A/B"}
    model = ["truck", "car", "F-16A/B"]
    real = ["Lorry", "lorry", "car", "pickup", "F/A-18", "a/b"]
    found = match(model, real, present=[1, 2, 3, 4, 5], pairs=pairs)
    assert found.names == model
    assert found.real_indices == [None, 0, 1, 0, 2, 2]
    assert (found.num_real, found.model_indices) == (3, [0, 1, 2])
    assert found.merged == [["lorry", "pickup"], ["F/A-18", "a/b"]]


def test_the_map_counts_before_the_name_itself():
    found = match(["cat", "dog"], ["cat", "dog"], pairs={"cat": "dog", "dog": "cat"})
    assert found.model_indices == [1, 0]
    assert found.names == ["dog", "cat"]


def test_every_fault_of_a_map_is_named():
    with pytest.raises(UserError) as caught:
        match(["truck", "car"], ["lorry", "car"], pairs={"lory": "truck", "lorry": "trukc"})
    assert str(caught.value).splitlines() == [
        "map.yaml: lory: set has no label 'lory'; did you mean 'lorry'?",
        "map.yaml: lorry: run has no class 'trukc'; did you mean 'truck'?",
    ]
    with pytest.raises(UserError, match=r"run has no class 'x'; it has 'truck', 'car'"):
        match(["truck", "car"], ["lorry", "car"], pairs={"lorry": "x"})
    with pytest.raises(UserError, match=r"add them to map\.yaml"):
        match(["truck", "car"], ["lorry", "auto"], pairs={"lorry": "truck"})


def test_first_synonyms_come_last():
    names = ["tench, Tinca tinca", "cock", "crane", "crane, machine"]
    found = match(["cock", "tench", "crane"], names, present=[0, 1, 2])
    assert (found.how, found.real_indices) == ("synonym", [0, 1, 2, None])
    assert found.names == ["tench, Tinca tinca", "cock", "crane"]
    assert match(names, ["Tench"]).model_indices[0] == 0
    with pytest.raises(UserError, match="has no class for 'crane, machine'"):
        match(["cock", "tench", "crane"], names)


@pytest.mark.parametrize("text", ["1: one\non-off: 'no'\n", "'1': one\n'on-off': no\n"])
def test_yaml_names_are_kept_as_typed(tmp_path, text):
    path = tmp_path / "map.yaml"
    path.write_text(text)
    assert read_labels(path).pairs == {"1": "one", "on-off": "no"}


def test_csv_may_contain_names_with_commas(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text('real,model\n"tench, Tinca tinca",tench\nlorry, truck\n\n')
    assert read_labels(path).pairs == {"tench, Tinca tinca": "tench", "lorry": "truck"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.yaml", "- a\n", r"m.yaml:1:1: is not a mapping; write lines `real label: model class`"),
        ("m.yaml", "a: b\na: c\n", "m.yaml:2:1: key 'a' occurs twice"),
        ("m.yaml", "a: [b, c]\nd:\n", "m.yaml:1:4: a: expected the name of one class\n.*: d: "),
        ("m.yaml", " \n", "is empty; write lines"),
        ("m.csv", "a,b\n", "m.csv:1: has the header 'a,b'"),
        ("m.csv", "real,model\na\n", "m.csv:2: expected a label and a class"),
        ("m.csv", "real,model\na,b\na,c\n", "m.csv:3: 'a' occurs twice"),
        ("none.yaml", None, "--labels .*none.yaml: file not found"),
    ],
)
def test_a_file_that_is_no_map_is_named(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_labels(tmp_path / name)


def test_names_are_checked_without_an_image(tmp_path):
    """Labels are read before images are decoded: these bytes are no images."""
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=PUBLISHED)}
    )
    labels = np.arange(30) % 10
    rows = {"image": [{"bytes": b"none", "path": None}] * 30, "label": labels}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "test.parquet")
    real = open_real(str(tmp_path))
    with pytest.raises(UserError, match="eurosat has no class for 'Industrial Buildings'"):
        match_real(EUROSAT, real, model="eurosat")
    pairs = dict(zip(PUBLISHED, EUROSAT, strict=True))
    found = match_real(EUROSAT, real, model="eurosat", labels=LabelMap(pairs, "map.yaml"))
    assert found.names == EUROSAT
    with pytest.raises(UserError, match="has no label 'Sea'"):
        match_real(EUROSAT, real, model="eurosat", labels=LabelMap({"Sea": "SeaLake"}, "m"))


def test_doubled_name_is_an_error():
    with pytest.raises(UserError, match="label_names contains 'cat' more than once"):
        match(["cat", "cat"], ["cat"])


@pytest.fixture
def comparisons(monkeypatch):
    """Count the names that are looked at, and the pairs of spellings that are compared."""
    counts = {"looks": 0, "pairs": 0}

    def counted(function):
        def call(name):
            counts["looks"] += 1
            return function(name)

        return call

    close = difflib.get_close_matches

    def compare(word, possibilities, **how):
        counts["pairs"] += len(possibilities)
        return close(word, possibilities, **how)

    forms = [counted(label_map._synonyms), counted(label_map._singulars)]
    monkeypatch.setattr(label_map, "_synonyms", forms[0])
    monkeypatch.setattr(label_map, "_singulars", forms[1])
    monkeypatch.setattr(label_map, "_FORMS", forms, raising=False)
    monkeypatch.setattr(label_map, "_words", counted(label_map._words))
    monkeypatch.setattr(label_map.difflib, "get_close_matches", compare)
    return counts


def test_thousands_of_unmatched_labels_are_compared_with_few_classes(comparisons):
    labels = [f"photo {n:05}" for n in range(2_000)]
    classes = [f"thing number {n}" for n in range(3_000)]
    with pytest.raises(UnmatchedLabelsError) as caught:
        match([*classes, "dog, hound"], [*labels, "hounds"])
    assert caught.value.suggested["hounds"] == "dog, hound"
    assert comparisons["looks"] < 10 * (len(labels) + len(classes))
    assert 0 < comparisons["pairs"] <= 200_000


def test_the_faults_of_a_long_map_are_compared_with_few_classes(comparisons):
    classes = [f"thing number {n}" for n in range(3_000)]
    pairs = {f"label {n}": f"kind {n}" for n in range(1_000)}
    with pytest.raises(UserError) as caught:
        match(classes, classes, pairs=pairs)
    assert len(caught.value.faults) == 2_000
    assert "; it has 'thing number 0', 'thing number 1'" in caught.value.faults[0].message
    assert comparisons["pairs"] <= 200_000
