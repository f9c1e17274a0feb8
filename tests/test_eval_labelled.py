"""Labelled datasets made from captioned ones."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eval.cli import main
from factory.common.errors import UserError
from factory.common.row_images import read_image
from factory.data.open import open_dataset

ROWS = [
    ("sports car", ["automobile", "vehicle"], "photo"),
    ("car", ["automobile"], "sketch"),
    ("tabby", ["cat", "animal"], "photo"),
    ("cat", None, "photo"),
    ("cat on an automobile", ["cat", "automobile"], "photo"),
    ("house", ["building"], "photo"),
    ("moving van", ["fire truck"], "photo"),
]


def of_classes(*names: str) -> list[str]:
    return [word for name in names for word in ("--class", name)]


TWO_CLASSES = of_classes("automobile", "cat")


@pytest.fixture
def captioned(tmp_path: Path) -> Path:
    folder = tmp_path / "captioned"
    folder.mkdir()
    colours = [Image.new("RGB", (8, 8), (20 * place, 0, 0)) for place in range(len(ROWS))]
    features = datasets.Features(
        image=datasets.Image(),
        name=datasets.Value("string"),
        general=datasets.List(datasets.Value("string")),
        domain=datasets.Value("string"),
    )
    columns = dict(
        zip(("name", "general", "domain"), map(list, zip(*ROWS, strict=True)), strict=True)
    )
    rows = datasets.Dataset.from_dict({"image": colours, **columns}, features=features)
    rows.to_parquet(str(folder / "train-00000-of-00001.parquet"))
    return folder


def test_words_that_name_one_class_make_the_label(captioned: Path, tmp_path: Path) -> None:
    classes = ["automobile", "cat", "fire_truck"]
    main(["label", str(captioned), str(tmp_path / "out"), *of_classes(*classes)])
    opened = open_dataset(str(tmp_path / "out"))
    assert opened.label_names == classes
    assert opened.dataset["label"] == [0, 0, 1, 1, 2]
    images = [read_image(item, where="a row") for item in opened.dataset["image"]]
    reds = [image.getpixel((0, 0))[0] for image in images]
    assert reds == [0, 20, 40, 60, 120]


def test_a_map_gives_further_words_a_class(captioned: Path, tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("building: cat\nmoving van: automobile\n")
    arguments = ["label", str(captioned), str(tmp_path / "out"), *TWO_CLASSES]
    main([*arguments, "--labels", str(path)])
    opened = open_dataset(str(tmp_path / "out"))
    assert opened.dataset["label"] == [0, 0, 1, 1, 1, 0]
    path.write_text("bilding: cat\nhouse: dog\n")
    with pytest.raises(UserError) as caught:
        main([*arguments[:2], str(tmp_path / "other"), *arguments[3:], "--labels", str(path)])
    first, second = str(caught.value).splitlines()
    assert "columns name,general, has no label 'bilding'; did you mean 'building'?" in first
    assert second.endswith("house: --class has no class 'dog'; it has 'automobile', 'cat'")
    assert not (tmp_path / "other").exists()


def test_images_that_cannot_be_read_are_named_or_left_out(
    captioned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = captioned.glob("*.parquet")
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[3]["image"]["bytes"] = rows[3]["image"]["bytes"][:50]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    out = tmp_path / "out"
    arguments = ["label", str(captioned), str(out), *TWO_CLASSES]
    with pytest.raises(UserError, match=r"captioned: row 3.*cannot be decoded.*; --skip-unread"):
        main(arguments)
    assert not out.exists()
    main([*arguments, "--skip-unreadable"])
    printed = capsys.readouterr()
    assert "1 of 4 images cannot be read and are skipped:" in printed.err
    assert re.search(
        r"rows read: \d+ without a class, \d+ with several; 1 image cannot be", printed.out
    )
    assert open_dataset(str(out)).dataset["label"] == [0, 0, 1]


def test_only_the_files_that_the_dataset_lists_are_read(captioned: Path, tmp_path: Path) -> None:
    (file,) = captioned.glob("*.parquet")
    (captioned / ".gating" / "7").mkdir(parents=True)
    for other in (".gating/7/train-00000.parquet", "train-00000-of-00002.parquet"):
        shutil.copy(file, captioned / other)
    (captioned / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files: {file.name}\n---\n"
    )
    main(["label", str(captioned), str(tmp_path / "out"), *TWO_CLASSES])
    assert open_dataset(str(tmp_path / "out")).dataset["label"] == [0, 0, 1, 1]


def test_a_captioned_image_folder_is_labelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for place in range(4):
        Image.new("RGB", (8, 8), (20 * place, 0, 0)).save(folder / f"{place}.png")
    (folder / "metadata.csv").write_text("file_name,name\n2.png,cat\n0.png,dog\n1.png,emu\n")
    arguments = [*of_classes("cat", "dog"), "--caption-column", "name", "--json"]
    command = ["label", str(folder), str(tmp_path / "out"), *arguments]
    with pytest.raises(UserError, match=r"photos: not read: 1 \.png without a row"):
        main(command)
    (folder / "3.png").rename(folder / "3.avif")
    with pytest.raises(UserError, match=r"1 of 4 images is in an unsupported format \(1 \.avif"):
        main(command)
    (folder / "3.avif").rename(folder / "3.png")
    main([*command, "--skip-unreadable"])
    opened = open_dataset(str(tmp_path / "out"))
    images = [read_image(item, where="a row") for item in opened.dataset["image"]]
    assert [image.getpixel((0, 0))[0] for image in images] == [40, 0]
    assert opened.dataset["label"] == [0, 1]
    printed = capsys.readouterr()
    assert "not read: 1 .png without a row" in printed.err
    assert json.loads(printed.out) == {
        "out": str(tmp_path / "out"),
        "images": {"cat": 1, "dog": 1},
        **{"rows": 3, "none": 1, "several": 0, "unreadable": 0},
    }
    card = (tmp_path / "out/README.md").read_text()
    assert "name exactly one of cat, dog: cat 1, dog 1." in card
    assert "Of 3 rows, 1 name none of them and 0 name several;\n0 images cannot be read." in card


def test_filter_and_faults(captioned: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["label", str(captioned), str(out), *TWO_CLASSES]
    main([*arguments, "--filter", "domain == 'photo'"])
    assert open_dataset(str(out)).dataset["label"] == [0, 1, 1]
    for more, message in (
        (TWO_CLASSES, "exists; choose a new folder"),
        (
            [*TWO_CLASSES, "--caption-column", "caption"],
            "no column caption; it has: image, name, general, domain",
        ),
        (of_classes("automobile", "dog"), "no image has dog as its only class"),
        (of_classes("cat", "cat"), "name at least two different classes"),
    ):
        place = out if more == TWO_CLASSES else tmp_path / "other"
        with pytest.raises(UserError, match=message):
            main([*arguments[:2], str(place), *more])
        assert not (tmp_path / "other").exists()
