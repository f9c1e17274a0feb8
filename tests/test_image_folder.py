"""Image folders as people keep them: every one is read as meant, or one line names the obstacle."""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from factory.common.errors import UserError
from factory.data.open import open_dataset, open_rows

pytestmark = pytest.mark.usefixtures("without_heic")
THREE = ("cat", "dog", "horse")
FORMATS = {".webp": "WEBP", ".gif": "GIF", ".bmp": "BMP", ".tif": "TIFF", ".png": "PNG"}


def put(folder: Path, *paths: str) -> Path:
    """Save an image at each path, all different."""
    for number, path in enumerate(paths):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        kind = FORMATS.get(target.suffix.lower(), "JPEG")
        Image.fromarray(pixels).save(target, format=kind)
    return folder


def classes(folder: Path, *extra: str, names: tuple[str, ...] = THREE, count: int = 3) -> Path:
    return put(folder, *(f"{name}/{n}.jpg" for name in names for n in range(count)), *extra)


def write(folder: Path, *paths: str) -> Path:
    """Write a file that is no image at each path."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"\x00junk")
    return folder


def counts(folder: Path, split: str | None = None) -> dict[str, int]:
    opened = open_dataset(str(folder), split=split)
    found = Counter(opened.dataset[opened.label_column])
    return {name: found[number] for number, name in enumerate(opened.label_names)}


_NAMES = ".jpg .JPG .Jpg .jpeg .JPEG .jfif .png .PNG .webp .WEBP .gif .bmp .tif .TIFF"
SUFFIXES = _NAMES.split()
EVEN = {"cat": 3, "dog": 3, "horse": 3}

READ: dict[str, tuple[Callable[[Path], object], dict[str, int]]] = {
    "plain": (classes, EVEN),
    "every suffix, in any case": (
        lambda one: put(
            one, *(f"{name}/p{n}{end}" for name in THREE for n, end in enumerate(SUFFIXES))
        ),
        dict.fromkeys(THREE, len(SUFFIXES)),
    ),
    "files of operating systems": (
        lambda one: write(
            classes(one),
            ".DS_Store",
            "cat/._0.jpg",
            "cat/Thumbs.db",
            "__MACOSX/cat/0.jpg",
            "@eaDir/cat/0.jpg",
            "dog/desktop.ini",
        ),
        EVEN,
    ),
    "other files beside images": (
        lambda one: write(
            classes(one),
            "README.md",
            "labels.csv",
            *(f"{name}/{n}.json" for name in THREE for n in range(9)),
        ),
        EVEN,
    ),
    "an archive beside images": (lambda one: write(classes(one), "photos.zip"), EVEN),
    "words of splits in file names": (
        lambda one: classes(one, "dog/test_dog.jpg", "cat/cat on train.jpg", "cat/train/val.jpg"),
        {"cat": 5, "dog": 4, "horse": 3},
    ),
    "class, year, image": (
        lambda one: put(
            one,
            *(
                f"{name}/{year}/{n}.jpg"
                for name in THREE
                for year in (2024, 2025)
                for n in range(3)
            ),
        ),
        dict.fromkeys(THREE, 6),
    ),
    "uneven depth": (
        lambda one: classes(one, "cat/2024/a.jpg", "cat/2024/may/b.jpg"),
        {**EVEN, "cat": 5},
    ),
    "one class by years": (
        lambda one: put(one, "cat/2024/a.jpg", "cat/2025/b.jpg"),
        {"cat": 2},
    ),
    "one class": (lambda one: classes(one, names=("cat",)), {"cat": 3}),
    "a class named train": (
        lambda one: classes(one, names=("cat", "train", "test")),
        {"cat": 3, "test": 3, "train": 3},
    ),
    "an empty folder": (lambda one: (classes(one) / "emu").mkdir(), EVEN),
    "brackets and marks in the path": (lambda one: classes(one), EVEN),
    "classes with spaces and marks": (
        lambda one: classes(one, names=("Cat [a] #1", "100 % dog", "été")),
        {"100 % dog": 3, "Cat [a] #1": 3, "été": 3},
    ),
}


@pytest.mark.parametrize("kind", READ)
def test_a_folder_is_read_as_its_owner_means_it(tmp_path: Path, kind: str) -> None:
    make, expected = READ[kind]
    folder = tmp_path / ("odd [ä#%20] (1)" if "brackets" in kind else "photos")
    make(folder)
    assert counts(folder) == expected


def test_rows_are_the_paths_and_classes_of_the_folder(tmp_path: Path) -> None:
    opened = open_dataset(str(classes(tmp_path / "photos", "cat/2024/x.jpg")))
    paths = [Path(item["path"]) for item in opened.dataset["image"]]
    labels = [opened.label_names[label] for label in opened.dataset["label"]]
    assert [path.relative_to(tmp_path / "photos").parts[0] for path in paths] == labels
    assert len(set(paths)) == 10 and all(path.is_file() for path in paths)


def test_accents_in_either_form_are_one_name(tmp_path: Path) -> None:
    assert counts(classes(tmp_path / "photos", names=("e\u0301te\u0301", "cat"))) == {
        "cat": 3,
        "été": 3,
    }


def test_splits_are_folders_at_the_top_that_hold_classes(tmp_path: Path) -> None:
    folder = classes(tmp_path / "photos" / "train").parent
    classes(folder / "Val", count=2)
    classes(folder / "test", names=("cat", "dog"), count=1)
    assert counts(folder) == EVEN
    assert counts(folder, "validation") == {"cat": 2, "dog": 2, "horse": 2}
    assert counts(folder, "test") == {"cat": 1, "dog": 1, "horse": 0}
    assert counts(classes(tmp_path / "alone" / "train").parent) == EVEN


def link(folder: Path) -> None:
    classes(folder, names=("cat",))
    classes(folder.parent / "albums", names=("dog",))
    (folder / "dog").symlink_to(folder.parent / "albums" / "dog")


def link_file(folder: Path) -> None:
    classes(folder)
    put(folder.parent, "private.jpg")
    (folder / "cat" / "x.jpg").symlink_to(folder.parent / "private.jpg")


def inner(folder: Path) -> None:
    put(folder, *(f"{name}/{split}/0.jpg" for name in THREE for split in ("train", "test")))


def link_inside(folder: Path) -> None:
    classes(folder)
    (folder / "all cats").symlink_to("cat")


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "HEIC beside JPEG": (
        lambda one: write(classes(one), *(f"{name}/IMG.HEIC" for name in THREE), "cat/a.avif"),
        r"4 of 13 images are in unsupported formats \(1 \.avif, 3 \.heic; the first is "
        r"cat/IMG\.HEIC\); convert them .* --skip-unreadable",
    ),
    "HEIC only": (
        lambda one: write(one, "cat/a.heic"),
        r"1 of 1 image are in unsupported formats \(1 \.heic; .*convert them to JPEG or PNG, or "
        r'install the decoder of HEIC: pip install "data-factory\[heic\]"$',
    ),
    "a stray image": (
        lambda one: classes(one, "contact.jpg"),
        r"contact\.jpg is not in a class folder",
    ),
    "no class folders": (
        lambda one: put(one, "cat_0.jpg", "dog_0.jpg"),
        "its 2 images are not in class folders",
    ),
    "splits without classes": (
        lambda one: put(one, "train/0.jpg", "train/1.jpg", "test/0.jpg"),
        r"test/0\.jpg and 2 more are not in a class folder",
    ),
    "an image beside the classes of a split": (
        lambda one: classes(one / "train", "x.jpg"),
        r"train/x\.jpg is not in a class folder",
    ),
    "splits inside classes": (
        inner,
        r"its class folders contain splits \(test, train\).* e.g. test/cat",
    ),
    "two names of a split": (
        lambda one: (classes(one / "val"), classes(one / "validation")),
        r"are the same split \(val, validation\)",
    ),
    "a folder around the classes": (
        lambda one: classes(one / "Images").parent,
        r"its only folder is Images; name .*photos/Images instead",
    ),
    "a folder around the splits": (
        lambda one: classes(one / "mine" / "train"),
        r"its only folder is mine; name .*photos/mine instead",
    ),
    "splits beside another folder": (
        lambda one: (classes(one / "train"), classes(one / "test"), put(one, "raw/0.jpg")),
        r"contains splits \(test, train\) beside other folders \(raw\); move",
    ),
    "archives only": (
        lambda one: write(one, "photos.zip", "README.md", "LICENSE"),
        r"contains 1 \.zip and no images; unpack",
    ),
    "a linked folder": (link, r"dog: is a link out of .*photos and is not read; remove it"),
    "a link to a class": (link_inside, "all cats: is a link to a folder and is not read"),
    "a link that leads out": (
        link_file,
        r"cat/x\.jpg: is a link out of .*photos and is not read",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_one_line_names_what_is_in_the_way(tmp_path: Path, kind: str) -> None:
    make, message = REFUSED[kind]
    make(tmp_path / "photos")
    with pytest.raises(UserError) as caught:
        open_dataset(str(tmp_path / "photos"))
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_read_is_counted(tmp_path: Path) -> None:
    folder = write(classes(tmp_path / "photos"), "cat/a.HEIC", "cat/b.heic", "dog/n.txt", "LICENSE")
    opened = open_dataset(str(folder), skip_unreadable=True)
    assert opened.left_out == {".heic": 2, ".txt": 1, "without suffix": 1}
    assert len(opened.dataset) == 9
    clean = classes(tmp_path / "clean")
    assert open_dataset(str(clean)).left_out == {}
    (clean / "emu").mkdir()
    assert open_dataset(str(clean)).left_out == {"without readable images (folders: emu)": 1}


CARD = '---\nconfigs:\n- config_name: default\n  data_files: "**"\n---\n'
STRAY: dict[str, tuple[Callable[[Path], object], dict[str, int]]] = {
    "hdf5": (lambda one: write(one, "cat/features.h5"), {".h5": 1}),
    "an archive": (lambda one: write(one, "backup.tar"), {".tar": 1}),
    "Parquet": (lambda one: write(one, "features.parquet"), {".parquet": 1}),
    "a card that names all": (lambda one: (one / "README.md").write_text(CARD), {".md": 1}),
    "a card that names some": (
        lambda one: (one / "README.md").write_text(
            CARD.replace('"**"', '["cat/*.jpg", "dog/*.jpg"]')
        ),
        {".md": 1, ".jpg without a row": 3},
    ),
}


@pytest.mark.parametrize("kind", STRAY)
def test_no_image_is_lost_beside_files_of_other_datasets(tmp_path: Path, kind: str) -> None:
    make, expected = STRAY[kind]
    folder = classes(tmp_path / "photos")
    make(folder)
    read = {name: 3 for name in THREE if name != "horse" or "some" not in kind}
    assert (counts(folder), open_dataset(folder).left_out) == (read, expected)
    write(folder, "cat/IMG.HEIC")
    refused = r"1 of 10 images are in .* \(1 \.heic; the first is cat/IMG.*--skip-unreadable"
    with pytest.raises(UserError, match=refused):
        open_dataset(folder)
    opened = open_dataset(folder, skip_unreadable=True)
    assert (len(opened.dataset), opened.left_out) == (3 * len(read), {**expected, ".heic": 1})


def test_classes_do_not_depend_on_a_stray_file(tmp_path: Path) -> None:
    folder = put(tmp_path / "photos", "cat/2024/a.jpg", "cat/2025/test.jpg", "dog/2024/c.jpg")
    write(folder, "dog/2024/features.h5")
    assert counts(folder) == {"cat": 2, "dog": 1}
    assert open_dataset(folder).left_out == {".h5": 1}


def test_one_config_of_several_is_no_whole_folder(tmp_path: Path) -> None:
    folder = write(classes(tmp_path / "photos"), "horse/IMG.HEIC")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: pets\n  data_files: [cat/*, dog/*]\n"
        "- config_name: farm\n  data_files: horse/*\n---\n"
    )
    opened = open_dataset(folder, config_name="pets")
    assert opened.label_names == ["cat", "dog"]
    assert opened.left_out == {".heic": 1, ".jpg without a row": 3, ".md": 1}


def test_images_that_no_metadata_names_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = put(tmp_path / "photos", "cat/0.jpg", "cat/1.jpg", "dog/0.png", "dog/1.jpg")
    (folder / "metadata.csv").write_text("file_name,label\ncat/0.jpg,cat\n")
    left = {".jpg without a row": 2, ".png without a row": 1}
    assert (counts(folder), open_dataset(folder).left_out) == ({"cat": 1}, left)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    for place in ("photos", "link", tmp_path / "link"):
        assert open_dataset(place).left_out == left
    capsys.readouterr()
    rows, _ = open_rows(str(folder), config_name=None, split="train")
    said = f"{folder}: not read: 2 .jpg without a row, 1 .png without a row"
    assert len(rows) == 1 and capsys.readouterr().err.splitlines() == [said]
    write(folder, "dog/a.avif")
    with pytest.raises(UserError, match=r"1 of 5 images are in .* the first is dog/a\.avif"):
        open_dataset(folder)
    assert open_dataset(folder, skip_unreadable=True).left_out == {".avif": 1, **left}


METADATA = {
    "metadata.csv": "file_name,label\na.jpg,cat\nb.jpg,dog\n",
    "metadata.jsonl": '{"file_name": "a.jpg", "label": "cat"}\n'
    '{"file_name": "b.jpg", "label": "dog"}\n',
}
BROKEN = {
    "metadata.csv": "file_name,label\na.jpg,cat\n" + "b.jpg,dog\n" * 20_000 + "a,b,c,d\n",
    "metadata.jsonl": '{"file_name": "a.jpg", "label": "cat"}\n{"file_name": 3\n',
}


def left_open(folder: Path) -> list[str]:
    """Return the files in a folder that this process has open."""
    files = (one.readlink() for one in Path("/proc/self/fd").iterdir() if one.is_symlink())
    return [str(one) for one in files if one.is_relative_to(folder)]


@pytest.mark.parametrize("name", METADATA)
def test_a_folder_with_metadata_is_read_by_it(tmp_path: Path, name: str) -> None:
    folder = put(tmp_path / "photos", "a.jpg", "b.jpg")
    (folder / name).write_text(METADATA[name])
    assert counts(folder) == {"cat": 1, "dog": 1}


@pytest.mark.parametrize("texts", [METADATA, BROKEN], ids=["read", "broken"])
@pytest.mark.parametrize("name", METADATA)
def test_no_file_stays_open_after_a_folder_was_read(
    tmp_path: Path, name: str, texts: dict[str, str]
) -> None:
    folder = put(tmp_path / "photos", "a.jpg", "b.jpg")
    (folder / name).write_text(texts[name])
    gc.disable()
    try:
        with nullcontext() if texts is METADATA else pytest.raises(UserError, match="photos"):
            open_dataset(folder)
        assert left_open(folder) == []
    finally:
        gc.enable()
