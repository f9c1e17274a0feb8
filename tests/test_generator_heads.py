"""Detection of cats' heads: OpenCV's real detector on a synthetic face."""

import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from factory.common.errors import UserError
from train.generator.cli import main
from train.generator.images.heads import RULES, Face, FaceFinder, choose_head


def draw_cat(*, size: int = 96, x: float = 48, y: float = 52, scale: float = 1.0) -> Image.Image:
    """Draw a cat's face that the detector accepts: ears, light face, dark eyes, nose, whiskers."""
    large = 4
    image = Image.new("RGB", (size * large, size * large), (90, 100, 90))
    draw = ImageDraw.Draw(image)

    def at(dx: float, dy: float) -> tuple[float, float]:
        return ((x + dx * scale) * large, (y + dy * scale) * large)

    def oval(dx: float, dy: float, rx: float, ry: float, fill: tuple[int, int, int]) -> None:
        draw.ellipse([at(dx - rx, dy - ry), at(dx + rx, dy + ry)], fill=fill)

    fur, dark = (185, 165, 140), (25, 20, 20)
    for side in (-1, 1):
        ear = [at(side * 24, -4), at(side * 22, -34), at(side * 5, -18)]
        draw.polygon(ear, fill=fur)
        inner = [at(side * 20, -12), at(side * 19.5, -27), at(side * 11, -17)]
        draw.polygon(inner, fill=(120, 90, 85))
    oval(0, 0, 26, 22, fur)
    oval(0, 12, 12, 8, (225, 215, 200))
    for side in (-1, 1):
        oval(side * 11, -4, 6.5, 5, (150, 150, 60))
        oval(side * 11, -4, 3, 4.6, dark)
    draw.polygon([at(-3.5, 6), at(3.5, 6), at(0, 10)], fill=(150, 80, 80))
    draw.line([at(0, 10), at(0, 14)], fill=dark, width=large)
    small = image.resize((size, size), Image.Resampling.LANCZOS)
    return small.filter(ImageFilter.GaussianBlur(0.6))


def write_set(folder: Path, photos: dict[str, Any]) -> Path:
    table = {
        "image": list(photos.values()),
        "name": list(photos),
        "general": [["cat"] if name.endswith("cat") else ["thing"] for name in photos],
    }
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "name": datasets.Value("string"),
            "general": datasets.List(datasets.Value("string")),
        }
    )
    folder.mkdir()
    datasets.Dataset.from_dict(table, features=features).to_parquet(folder / "train.parquet")
    return folder


def test_heads_of_cats_are_found_and_written_beside_the_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    photos = {
        "tabby cat": draw_cat(),
        "small cat": draw_cat(size=64, x=32, y=34, scale=0.75),
        "large cat": draw_cat(size=200, x=90, y=110, scale=2),
        "grey cat": Image.fromarray(noise),
        "clock": draw_cat(),
    }
    data = write_set(tmp_path / "photos", photos)
    out = tmp_path / "with-heads"
    caplog.set_level("INFO")
    command = ["heads", str(data), str(out), "--general-column", "general"]
    assert main(command) == 0
    assert "cat: a head in 3 of 4 images" in caplog.text
    assert "dog: a head in 0 of 0 images" in caplog.text
    rows = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["name"] == list(photos)
    assert np.array_equal(np.asarray(rows[3]["image"]), noise)
    found = dict(zip(rows["name"], rows["head"], strict=True))
    assert found["grey cat"] is None
    assert found["clock"] is None, "no cat by its name"
    for name, (middle, size) in {
        "tabby cat": ((48, 47), 96),
        "small cat": ((32, 30), 64),
        "large cat": ((90, 100), 200),
    }.items():
        left, top, right, bottom = found[name]
        assert (left + right) / 2 == pytest.approx(middle[0], abs=0.05 * size)
        assert (top + bottom) / 2 == pytest.approx(middle[1], abs=0.05 * size)
        assert 0.7 * size < right - left < 1.15 * size
        assert right - left == pytest.approx(bottom - top, abs=0.1)
    with pytest.raises(UserError, match="name a new folder"):
        main(command)
    with pytest.raises(UserError, match="already has a column head"):
        main(["heads", str(out), str(tmp_path / "twice"), "--general-column", "general"])
    with pytest.raises(UserError, match="no column title; it has general, image, name"):
        main(["heads", str(data), str(tmp_path / "none"), "--name-column", "title"])
    assert not (tmp_path / "none").exists()


def test_a_folder_of_images_is_written_whole(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name, photo in {"cat": draw_cat(), "clock": draw_cat(size=64)}.items():
        (folder / name).mkdir(parents=True)
        photo.save(folder / name / "one.png")
    out = tmp_path / "with-heads"
    assert main(["heads", str(folder), str(out), "--name-column", "label"]) == 0
    shutil.rmtree(folder)
    rows = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.features["label"].names == ["cat", "clock"]
    assert np.array_equal(np.asarray(rows[0]["image"]), np.asarray(draw_cat()))
    assert [head is not None for head in rows["head"]] == [True, False]


def test_datasets_without_cats_and_dogs(tmp_path: Path) -> None:
    data = write_set(tmp_path / "things", {"clock": draw_cat(), "spoon": draw_cat()})
    asked = ["--general-column", "general"]
    with pytest.raises(
        UserError, match="things: no row contains cat or dog in column name or general"
    ):
        main(["heads", str(data), str(tmp_path / "out"), *asked])
    missing = write_set(tmp_path / "missing", {"grey cat": draw_cat(), "tabby cat": None})
    with pytest.raises(UserError, match="missing: image, row 1: the image is missing"):
        main(["heads", str(missing), str(tmp_path / "out"), *asked])
    with pytest.raises(UserError, match="missing: name, row 0: contains str, not an image"):
        main(["heads", str(missing), str(tmp_path / "out"), *asked, "--image-column", "name"])
    broken = write_set(tmp_path / "broken", {"grey cat": {"bytes": b"no image", "path": None}})
    with pytest.raises(UserError, match="broken: image, row 0: the image cannot be decoded"):
        main(["heads", str(broken), str(tmp_path / "out"), *asked])
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"out: is inside the dataset .*things; name a folder"):
        main(["heads", str(data), str(data / "out"), *asked])
    assert not (data / "out").exists()


def test_a_head_must_be_sure_whole_and_agreed_on() -> None:
    face = Face(x=32, y=34, side=20, weight=1.0)
    twice = [face, Face(x=33, y=34, side=21, weight=0.9)]
    elsewhere = Face(x=50, y=20, side=20, weight=0.9)
    size = {"width": 64, "height": 64}
    assert choose_head([face], RULES["cat"], **size) == [15.0, 15.0, 49.0, 49.0]
    assert choose_head([face], RULES["dog"], **size) is None
    assert choose_head([face, elsewhere], RULES["dog"], **size) is None
    assert choose_head(twice, RULES["dog"], **size) == face.head()
    near = Face(x=36.9, y=34, side=14.5, weight=1.0)
    assert face.agrees(near) == near.agrees(face)
    assert choose_head([Face(x=32, y=34, side=20, weight=0.1)], RULES["cat"], **size) is None
    assert choose_head([Face(x=6, y=34, side=20, weight=3.0)], RULES["cat"], **size) is None
    assert choose_head([], RULES["cat"], **size) is None


def test_an_opencv_without_the_detector_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.setattr(cv2, "__file__", "/nowhere/cv2/__init__.py")
    with pytest.raises(UserError, match=r"has no haarcascade_frontalcatface.xml.*data-factory"):
        FaceFinder()
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(UserError, match=r"needs OpenCV: pip install 'data-factory\[heads\]'"):
        FaceFinder()
