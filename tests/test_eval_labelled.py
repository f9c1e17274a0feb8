"""A labelled set out of a captioned one."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from PIL import Image

from eval.cli import main
from factory.errors import UserError
from factory.open_data import open_dataset

ROWS = [
    ("sports car", ["automobile", "vehicle"], "photo"),
    ("car", ["automobile"], "sketch"),
    ("tabby", ["cat", "animal"], "photo"),
    ("cat", None, "photo"),
    ("cat on an automobile", ["cat", "automobile"], "photo"),
    ("house", ["building"], "photo"),
    ("moving van", ["fire truck"], "photo"),
]


@pytest.fixture
def captioned(tmp_path: Path) -> Path:
    folder = tmp_path / "captioned"
    folder.mkdir()
    pictures = [Image.new("RGB", (8, 8), (20 * place, 0, 0)) for place in range(len(ROWS))]
    features = datasets.Features(
        image=datasets.Image(),
        name=datasets.Value("string"),
        general=datasets.List(datasets.Value("string")),
        domain=datasets.Value("string"),
    )
    columns = dict(
        zip(("name", "general", "domain"), map(list, zip(*ROWS, strict=True)), strict=True)
    )
    rows = datasets.Dataset.from_dict({"image": pictures, **columns}, features=features)
    rows.to_parquet(str(folder / "train-00000-of-00001.parquet"))
    return folder


def test_words_that_name_one_class_make_the_label(captioned: Path, tmp_path: Path) -> None:
    classes = "automobile,cat,fire_truck"
    main(["label", str(captioned), str(tmp_path / "out"), "--classes", classes])
    opened = open_dataset(str(tmp_path / "out"))
    assert opened.label_names == classes.split(",")
    assert opened.dataset["label"] == [0, 0, 1, 1, 2]
    reds = [image.getpixel((0, 0))[0] for image in opened.dataset["image"]]
    assert reds == [0, 20, 40, 60, 120]


def test_a_map_gives_further_words_a_class(captioned: Path, tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("building: cat\nmoving van: automobile\n")
    arguments = ["label", str(captioned), str(tmp_path / "out"), "--classes", "automobile,cat"]
    main([*arguments, "--labels", str(path)])
    opened = open_dataset(str(tmp_path / "out"))
    assert opened.dataset["label"] == [0, 0, 1, 1, 1, 0]
    path.write_text("bilding: cat\nhouse: dog\n")
    with pytest.raises(UserError) as caught:
        main([*arguments[:2], str(tmp_path / "other"), *arguments[3:], "--labels", str(path)])
    first, second = str(caught.value).splitlines()
    assert "columns name,general, has no label 'bilding'; did you mean 'building'?" in first
    assert second.endswith("house: --classes has no class 'dog'; it has 'automobile', 'cat'")
    assert not (tmp_path / "other").exists()


def test_filter_and_faults(captioned: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["label", str(captioned), str(out), "--classes", "automobile,cat"]
    main([*arguments, "--filter", "domain == 'photo'"])
    assert open_dataset(str(out)).dataset["label"] == [0, 1, 1]
    for more, message in (
        ([], "exists; choose a new folder"),
        (["--columns", "caption"], "no column caption; it has: image, name, general, domain"),
        (["--classes", "automobile,dog"], "no image whose words name dog alone"),
        (["--classes", "cat,cat"], "two different names or more"),
    ):
        place = out if not more else tmp_path / "other"
        with pytest.raises(UserError, match=message):
            main([*arguments[:2], str(place), *arguments[3:], *more])
        assert not (tmp_path / "other").exists()
