"""Image folders as people keep them: read as expected, or rejected with one clear line."""

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
from factory.data.dataset_builders import IMAGES, MODULES
from factory.data.image_folder import TABLES
from factory.data.open import open_dataset, open_rows
from factory.data.row_counts import count_warnings, left_out_line

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
    "words of splits, and a card that names no files": (
        lambda one: (
            classes(one, "dog/test_dog.jpg")
            .joinpath("README.md")
            .write_text("---\nconfigs:\n- config_name: default\n  drop_labels: false\n---\n")
        ),
        {**EVEN, "dog": 4},
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
    "brackets and marks in the path": (lambda one: classes(one), EVEN),
    "classes with spaces and marks": (
        lambda one: classes(one, names=("Cat [a] #1", "100 % dog", "été")),
        {"100 % dog": 3, "Cat [a] #1": 3, "été": 3},
    ),
}


@pytest.mark.parametrize("kind", READ)
def test_an_image_folder_is_read_as_expected(tmp_path: Path, kind: str) -> None:
    make, expected = READ[kind]
    folder = tmp_path / ("odd [ä#%20] (1)" if "brackets" in kind else "photos")
    make(folder)
    assert counts(folder) == expected
    assert open_dataset(folder).shown == str(folder), "its images are in no split"


def test_rows_are_the_paths_and_classes_of_the_folder(tmp_path: Path) -> None:
    opened = open_dataset(str(classes(tmp_path / "photos", "cat/2024/x.jpg")))
    paths = [Path(item["path"]) for item in opened.dataset["image"]]
    labels = [opened.label_names[label] for label in opened.dataset["label"]]
    assert [path.relative_to(tmp_path / "photos").parts[0] for path in paths] == labels
    assert len(set(paths)) == 10 and all(path.is_file() for path in paths)


def test_both_unicode_forms_of_an_accent_are_one_name(tmp_path: Path) -> None:
    assert counts(classes(tmp_path / "photos", names=("e\u0301te\u0301", "cat"))) == {
        "cat": 3,
        "été": 3,
    }


def test_splits_are_top_level_folders_with_classes(tmp_path: Path) -> None:
    folder = classes(tmp_path / "photos" / "train").parent
    classes(folder / "Val", count=2)
    classes(folder / "test", names=("cat", "dog"), count=1)
    assert counts(folder) == EVEN
    assert counts(folder, "validation") == {"cat": 2, "dog": 2, "horse": 2}
    assert counts(folder, "test") == {"cat": 1, "dog": 1, "horse": 0}
    assert counts(classes(tmp_path / "alone" / "train").parent) == EVEN
    classes(classes(tmp_path / "other" / "train").parent / "dev", count=1)
    classes(tmp_path / "other" / "eval", count=2)
    found = {split: counts(tmp_path / "other", split)["cat"] for split in ("validation", "test")}
    assert (counts(tmp_path / "other"), found) == (EVEN, {"validation": 1, "test": 2})
    for named in ("photos", "alone", "other"):
        assert open_dataset(tmp_path / named).named_split == "train"


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
        r"1 of 1 image is in an unsupported format \(1 \.heic; .*convert them to JPEG or PNG, or "
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
    "one split beside another folder": (
        lambda one: (classes(one / "train"), classes(one / "holdout")),
        r"contains splits \(train\) beside other folders \(holdout\); move .* directly into",
    ),
    "a stray image beside splits inside classes": (
        lambda one: (inner(one), put(one, "cat/1.jpg")),
        r"its class folders contain splits \(test, train\)",
    ),
    "an empty folder": (
        lambda one: one.mkdir(),
        r"photos: contains no images; put the images of each class .*photos/cat/1\.jpg",
    ),
    "empty class folders": (
        lambda one: [(one / name).mkdir(parents=True) for name in ("ant", "bee")],
        r"contains no images in its 2 folders \(ant, bee\); put .*photos/ant/1\.jpg",
    ),
    "empty class folders in a split": (
        lambda one: (one / "train" / "ant").mkdir(parents=True),
        r"contains no images in its 2 folders \(train, train/ant\).*photos/train/ant/1\.jpg",
    ),
    "texts only": (
        lambda one: write(one, "cat/a.txt"),
        r"contains no images, only 1 \.txt in its 1 folder \(cat\); put",
    ),
    "notes only": (
        lambda one: write(one, "cat/notes.md", "dog/a.toml", "dog/b.xml"),
        r"contains no images, only 1 \.md, 1 \.toml, 1 \.xml in its 2 folders \(cat, dog\); put",
    ),
    "archives only": (
        lambda one: write(one, "photos.zip", "README.md", "LICENSE"),
        r"contains archives \(1 \.zip\) and no images; unpack",
    ),
    "recipes": (
        lambda one: write(one, "recommended.yaml", "schema.json", "README.md"),
        r"no images, only 1 \.json, 1 \.md, 1 \.yaml; if .* recipes, build .*photos OUT",
    ),
    "a linked folder": (link, r"dog: is a link out of .*photos and is not read; remove it"),
    "nothing but linked folders": (
        lambda one: (
            classes(one.parent / "albums"),
            write(one, "README.md"),
            *((one / name).symlink_to(one.parent / "albums" / name) for name in THREE),
        ),
        r"photos/cat: is a link out of .*photos and is not read; remove it",
    ),
    "a link to a class": (link_inside, "all cats: is a link to a folder and is not read"),
    "a link that leads out": (
        link_file,
        r"cat/x\.jpg: is a link out of .*photos and is not read",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_one_line_names_the_obstacle(tmp_path: Path, kind: str) -> None:
    make, message = REFUSED[kind]
    make(tmp_path / "photos")
    with pytest.raises(UserError) as caught:
        open_dataset(str(tmp_path / "photos"))
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pcx", ".sgi"])
def test_formats_that_only_datasets_knows_are_left_to_it(tmp_path: Path, suffix: str) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), "red").save(tmp_path / name / f"1{suffix}")
    assert len(open_dataset(str(tmp_path)).dataset) == 2


def test_files_that_are_not_read_are_counted(tmp_path: Path) -> None:
    folder = write(classes(tmp_path / "photos"), "cat/a.HEIC", "cat/b.heic", "dog/n.txt", "LICENSE")
    opened = open_dataset(str(folder), skip_unreadable=True)
    assert opened.left_out == {".heic": 2, ".txt": 1, "without suffix": 1}
    assert len(opened.dataset) == 9
    clean = classes(tmp_path / "clean")
    assert open_dataset(str(clean)).left_out == {}


LOST: dict[str, tuple[Callable[[Path], object], str]] = {
    "a class with a video only": (
        lambda one: write(classes(one), "emu/a.mov"),
        r"not read: 1 folder without readable images \(emu\); put images",
    ),
    "an empty class": (
        lambda one: (classes(one) / "emu").mkdir(),
        r"not read: 1 folder without readable images \(emu\); put images",
    ),
    "an empty class inside a split": (
        lambda one: (classes(one / "train"), write(classes(one / "test"), "emu/a.mov")),
        r"not read: 1 folder without readable images \(test/emu\); put images",
    ),
    "an empty split": (
        lambda one: (classes(one / "train"), (one / "test").mkdir()),
        r"not read: 1 folder without readable images \(test\); put images",
    ),
    "images that no row names": (
        lambda one: (classes(one) / "metadata.csv").write_text("file_name,label\ncat/0.jpg,cat\n"),
        r"not read: 8 \.jpg without a row; list these images in a metadata file",
    ),
}


@pytest.mark.parametrize("kind", LOST)
def test_data_that_is_not_read_is_refused_unless_skipped(tmp_path: Path, kind: str) -> None:
    make, message = LOST[kind]
    folder = tmp_path / "photos"
    make(folder)
    with pytest.raises(UserError, match=f"photos: {message}.*--skip-unreadable$"):
        open_dataset(folder)
    opened = open_dataset(folder, skip_unreadable=True)
    counted = left_out_line(opened.left_out).split(", ")[-1]
    assert len(opened.dataset) and counted in message.replace("\\", "")


def test_an_empty_folder_inside_a_class_is_no_class(tmp_path: Path) -> None:
    folder = classes(tmp_path / "photos")
    (folder / "cat" / "2024").mkdir()
    assert open_dataset(folder).left_out == {}
    splits = write(classes(tmp_path / "more" / "train").parent, "docs/api/a.md")
    assert open_dataset(splits).left_out == {".md": 1}


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
    refused = r"1 of 10 images is in .* \(1 \.heic; the first is cat/IMG.*--skip-unreadable"
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
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    for place in ("photos", "link", tmp_path / "link"):
        assert open_dataset(place, skip_unreadable=True).left_out == left
    capsys.readouterr()
    rows, _ = open_rows(str(folder), config_name=None, split="train")
    said = f"{folder}: not read: 2 .jpg without a row, 1 .png without a row"
    assert len(rows) == 1 and capsys.readouterr().err.splitlines() == [said]
    write(folder, "dog/a.avif")
    with pytest.raises(UserError, match=r"1 of 5 images is in .* the first is dog/a\.avif"):
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


def listed(folder: Path, **labels: str) -> Path:
    """Save images and list them in a metadata file; the keys of labels are their names."""
    put(folder, *(f"{name}.jpg" for name in labels))
    rows = "".join(f"{name}.jpg,{label}\n" for name, label in labels.items())
    (folder / "metadata.csv").write_text(f"file_name,label\n{rows}")
    return folder


NAMED: dict[str, tuple[Callable[[Path], object], dict[str, dict[str, int]]]] = {
    "words of splits in file names": (
        lambda one: listed(one, **{"my test": "cat", "train_0": "dog", "b": "dog"}),
        {"train": {"cat": 1, "dog": 2}},
    ),
    "words of splits in the names of folders": (
        lambda one: listed(one, **{"test shots/0": "cat", "old train/0": "dog", "new/0": "dog"}),
        {"train": {"cat": 1, "dog": 2}},
    ),
    "other classes than the folders": (
        lambda one: listed(one, **{"cat/test_0": "tabby", "dog/train": "collie"}),
        {"train": {"collie": 1, "tabby": 1}},
    ),
    "a list in each split": (
        lambda one: (
            listed(one / "train", a="cat", **{"my test": "dog"}),
            listed(one / "dev", a="cat", train_0="dog"),
            listed(one / "test", b="cat", c="dog", d="dog"),
        ),
        {
            "train": {"cat": 1, "dog": 1},
            "validation": {"cat": 1, "dog": 1},
            "test": {"cat": 1, "dog": 2},
        },
    ),
    "one list of all splits": (
        lambda one: listed(one, **{"train/a": "cat", "train/test": "dog", "test/a": "dog"}),
        {"train": {"cat": 1, "dog": 1}, "test": {"dog": 1}},
    ),
    "splits below another folder": (
        lambda one: listed(one, **{"images/train/a": "cat", "images/val/0/b": "dog"}),
        {"train": {"cat": 1}, "validation": {"dog": 1}},
    ),
    "one split alone": (lambda one: listed(one / "test", a="cat"), {"test": {"cat": 1}}),
    "marks in the path": (
        lambda one: listed(one / "a [1] *#%20", **{"my test": "cat", "b [2]": "dog"}),
        {"train": {"cat": 1, "dog": 1}},
    ),
    "a name in capitals": (
        lambda one: (listed(one, test="cat") / "metadata.csv").rename(one / "Metadata.csv"),
        {"train": {"cat": 1}},
    ),
}


@pytest.mark.parametrize("kind", NAMED)
def test_rows_and_splits_do_not_depend_on_words_in_file_names(tmp_path: Path, kind: str) -> None:
    make, expected = NAMED[kind]
    make(tmp_path / "photos")
    for split, wanted in expected.items():
        found = counts(tmp_path / "photos", split)
        assert {name: count for name, count in found.items() if count} == wanted
    named = open_dataset(tmp_path / "photos").named_split
    assert named == (next(iter(expected)) if set(expected) != {"train"} else None)
    with pytest.raises(UserError, match=f"it has: {', '.join(sorted(expected))}$"):
        counts(tmp_path / "photos", "none")
    rows, _ = open_rows(str(tmp_path / "photos"), config_name=None, split=next(iter(expected)))
    assert len(rows) == sum(next(iter(expected.values())).values())


def test_rows_of_several_lists_have_one_order(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("dog", "ant", "cat", "bee"):
        listed(folder / name, b=name, a=name)
    (folder / "cat/metadata.csv").write_text("file_name,label,note\na.jpg,cat,shy\nb.jpg,cat,\n")
    rows, _ = open_rows(str(folder), config_name=None, split="train")
    paths = [Path(item["path"]).relative_to(folder).as_posix() for item in rows["image"]]
    assert paths == [
        f"{one}.jpg"
        for one in ("ant/b", "ant/a", "bee/b", "bee/a", "cat/a", "cat/b", "dog/b", "dog/a")
    ]
    assert rows["note"][:] == [None, None, None, None, "shy", None, None, None]
    (folder / "ant/metadata.csv").write_text("file_name,label\na.jpg,1\n")
    with pytest.raises(UserError, match=f"{folder}: its 4 metadata files do not have the same"):
        open_dataset(folder)
    (folder / "ant/metadata.csv").write_text("file_name,label\n")
    with pytest.raises(UserError, match=f"{folder}/ant/metadata.csv: its files cannot be loaded"):
        open_dataset(folder)


def test_an_image_with_several_labels_is_refused(tmp_path: Path) -> None:
    folder = listed(tmp_path / "photos", a="cat", b="dog")
    with (folder / "metadata.csv").open("a") as file:
        file.write("b.jpg,dog\na.jpg,dog\n")
    message = r"1 image with several labels; the first is .*a\.jpg \(cat, dog\); keep one row"
    with pytest.raises(UserError, match=message):
        open_dataset(folder)
    assert len(open_dataset(folder, row_filter='label == "dog"').dataset) == 3
    assert len(open_rows(str(folder), config_name=None, split="train")[0]) == 4


@pytest.mark.parametrize("name", ["../{}", "{}", "file://{}", "http://127.0.0.1:9/x.png"])
def test_a_list_names_no_files_elsewhere(tmp_path: Path, name: str) -> None:
    put(tmp_path, "private.png")
    folder = put(tmp_path / "photos", "a.png")
    path = "private.png" if name.startswith("..") else str(tmp_path / "private.png")
    (folder / "metadata.csv").write_text(f"file_name,label\n{name.format(path)},cat\na.png,dog\n")
    with pytest.raises(UserError, match=r"metadata\.csv: .*Invalid metadata file_name") as caught:
        open_dataset(folder)
    assert "\n" not in str(caught.value)
    (folder / "metadata.csv").unlink()
    (tmp_path / "metadata.csv").write_text("file_name,label\nprivate.png,cat\n")
    (folder / "metadata.csv").symlink_to(tmp_path / "metadata.csv")
    with pytest.raises(UserError, match=r"metadata\.csv: is a link out of .*photos"):
        open_dataset(folder)


def test_names_that_people_read_as_one_are_reported() -> None:
    counts = {"dog": 10, "Dog": 10, "dog ": 10, "e\u0301te\u0301": 10, "\xe9t\xe9": 10, "cat": 10}
    (warning,) = count_warnings(counts)
    assert warning.startswith("5 of 6 classes with names that differ only in case, spaces or form")
    assert "'dog', 'Dog', 'dog '" in warning
    assert count_warnings({"dog": 10, "dogs": 10}) == []


MIXED: dict[str, tuple[dict[str, str], str]] = {
    "a split beside other folders": ({"test/a": "cat", "more/b": "dog"}, "test"),
    "a split beside other images": ({"train/a": "cat", "b": "dog"}, "train"),
    "splits inside other folders": ({"cat/train/a": "cat", "dog/test/b": "dog"}, "test, train"),
}


@pytest.mark.parametrize("kind", MIXED)
def test_images_of_which_only_some_are_in_splits_are_refused(tmp_path: Path, kind: str) -> None:
    labels, splits = MIXED[kind]
    listed(tmp_path / "photos", **labels)
    message = rf"only some images are in folders of splits \({splits}\); put all .* in the card"
    with pytest.raises(UserError, match=message):
        open_dataset(tmp_path / "photos")


def test_images_without_labels_are_all_read(tmp_path: Path) -> None:
    folder = put(tmp_path / "photos", "a.jpg", "test.jpg", "train on track.jpg")
    rows, _ = open_rows(str(folder), config_name=None, split="train")
    assert (len(rows), rows.column_names) == (3, ["image"])
    put(tmp_path / "splits", "train/a.jpg", "train/test.jpg", "test/b.jpg")
    found = {
        one: open_rows(str(tmp_path / "splits"), config_name=None, split=one)[0]
        for one in ("train", "test")
    }
    assert {one: len(rows) for one, rows in found.items()} == {"train": 2, "test": 1}


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


def test_the_files_of_rows_are_those_that_datasets_loads() -> None:
    from datasets.packaged_modules import _EXTENSION_TO_MODULE

    formats = {*MODULES} - {IMAGES, "text"}
    assert {end for end, (name, _) in _EXTENSION_TO_MODULE.items() if name in formats} == TABLES
