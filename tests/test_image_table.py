"""CSV and Parquet files whose rows name images: what is read, and what is refused in one line."""

import re
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_open_data import png

from factory.common.errors import UserError
from factory.common.row_options import row_options
from factory.data import image_table
from factory.data.open import OpenedDataset, open_dataset, open_images
from factory.data.pixels import decode_images
from factory.data.readable import only_readable
from factory.data.row_counts import class_counts

FILES = {"cat/a.JPG": 10, "cat/b.webp": 60, "dog/c.gif": 200, "more/dee p/d.png": 250}
LABELS = ["cat", "cat", "dog", "dog"]


def photos(folder: Path) -> Path:
    """Write an image of one grey value per file; the GIF has a second frame of another value."""
    for name, value in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = [Image.new("L", (8, 6), one) for one in (value, 0)]
        more = {"save_all": True, "append_images": frames[1:]} if path.suffix == ".gif" else {}
        frames[0].save(path, **more)
    return folder


def values(opened: OpenedDataset) -> list[int]:
    """Return the grey value of each image."""
    pixels = decode_images(
        opened.dataset,
        image_column=opened.image_column,
        image_folder=opened.image_folder,
        height=4,
        width=4,
    )
    return [int(value) for value in pixels[:, 0, 0, 0]]


def table(folder: Path, text: str, name: str = "test.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_text(text, encoding=encoding, newline="")
    return folder / name


def lines(separator: str = ",", header: str = "path,label") -> str:
    rows = [header.replace(",", separator)]
    rows += [f"{path}{separator}{label}" for path, label in zip(FILES, LABELS, strict=True)]
    return "\n".join(rows) + "\n"


SPELLINGS: dict[str, tuple[str, dict[str, str]]] = {
    "path and label": (lines(), {}),
    "a spreadsheet's": (lines(";", "Image,Class"), {"encoding": "utf-8-sig"}),
    "tabs": (lines("\t", "file_name,label"), {"name": "test.tsv"}),
    "spaces, empty lines, no last line break": (lines(", ", "filename,label").strip(), {}),
    "Windows": (lines().replace("/", "\\").replace("\n", "\r\n") + "\r\n", {}),
    "quotes": (lines().replace("cat/a.JPG,cat", '"cat/a.JPG", "cat"'), {}),
    "an index without a name": (
        ",path,label\n" + "".join(f"{n},{x}\n" for n, x in enumerate(lines().split()[1:3])),
        {},
    ),
}


@pytest.mark.parametrize("kind", SPELLINGS)
def test_csv_files_are_read_as_people_write_them(tmp_path: Path, kind: str) -> None:
    text, options = SPELLINGS[kind]
    file = table(photos(tmp_path / "photos"), text, **options)
    opened = open_dataset(file)
    count = len(opened.dataset)
    assert count == (2 if "index" in kind else 4)
    names = [opened.label_names[label] for label in opened.dataset[opened.label_column]]
    assert names == LABELS[:count]
    assert values(opened) == pytest.approx(list(FILES.values())[:count], abs=2)
    assert opened.shown == f"{file}, split test"


def test_columns_can_be_named_and_numbers_filtered(tmp_path: Path) -> None:
    text = (
        "label,photo,kind,size,note\n1,cat/a.JPG,007,3,\n1,cat/b.webp,010,,x\n2,dog/c.gif,007,2.5,"
    )
    file = table(photos(tmp_path), text, "mine.csv")
    # Keys of files have underscores, whatever precedes them.
    for form, written in (
        ("--{}", "--image-column"),
        ("train --{}", "train --image-column"),
        ("--{} (not here)", r"--image-column \(not here\)"),
        ("sets.a--b.real.{}", "sets.a--b.real.image_column"),
    ):
        said = rf"mine.csv: no column of image paths among label, photo, .* with {written}$"
        with row_options(form), pytest.raises(UserError, match=said):
            open_dataset(file)
    with row_options("--real-train"), pytest.raises(UserError, match=r"path,label$"):
        open_dataset(file)
    named = open_dataset(file, image_column="photo", row_filter="size > 2")
    assert (named.label_names, named.split) == (["1", "2"], "train")
    assert named.shown == f"{file} where size > 2"
    assert values(named) == pytest.approx([10, 200], abs=2)
    opened = open_dataset(file, image_column="photo", label_column="kind")
    assert opened.label_names == ["007", "010"]
    with pytest.raises(UserError, match=r"no column 'picture'|there is no column 'picture'"):
        open_dataset(file, image_column="picture")
    with pytest.raises(UserError, match=r"is one file and has no config 'base'; omit --config"):
        open_dataset(file, config_name="base")


def test_words_for_nothing_are_class_names(tmp_path: Path) -> None:
    text = lines().replace(",cat", ",nan").replace(",dog", ",None")
    assert open_dataset(table(photos(tmp_path), text)).label_names == ["None", "nan"]


def test_a_split_column_is_a_split(tmp_path: Path) -> None:
    text = "path,label,Split\ncat/a.JPG,cat,train\ncat/b.webp,cat,Test\ndog/c.gif,dog,test\n"
    file = table(photos(tmp_path), text, "all.csv")
    assert values(open_dataset(file)) == pytest.approx([10], abs=2)
    assert values(open_dataset(file, split="test")) == pytest.approx([60, 200], abs=2)
    with pytest.raises(UserError, match="no split 'val'; it has: train, test"):
        open_dataset(file, split="val")


@pytest.mark.parametrize("kind", ["paths", "encoded", "without types", "bytes"])
def test_parquet_files_name_or_contain_images(tmp_path: Path, kind: str) -> None:
    photos(tmp_path)
    cells = [{"bytes": (tmp_path / name).read_bytes(), "path": None} for name in FILES]
    column = {
        "paths": pa.array(FILES),
        "encoded": pa.array(cells, datasets.Image().pa_type),
        "without types": pa.array(cells),
        "bytes": pa.array([cell["bytes"] for cell in cells]),
    }[kind]
    rows = pa.table({"image": column, "class": LABELS})
    if kind == "encoded":
        features = datasets.Features(image=datasets.Image(), **{"class": datasets.Value("string")})
        rows = rows.cast(features.arrow_schema)
    pq.write_table(rows, tmp_path / "test-00000-of-00001.parquet")
    opened = open_dataset(tmp_path / "test-00000-of-00001.parquet")
    assert (opened.split, opened.label_names) == ("test", ["cat", "dog"])
    assert values(opened) == pytest.approx(list(FILES.values()), abs=2)


def link_out(folder: Path) -> str:
    (folder.parent / "private.png").write_bytes(png(1)["bytes"] or b"")
    (folder / "cat" / "x.png").symlink_to(folder.parent / "private.png")
    return "path,label\ncat/x.png,cat\n"


def link_folder(folder: Path) -> str:
    photos(folder.parent / "other")
    (folder / "all").symlink_to(folder.parent / "other" / "cat")
    return "path,label\nall/a.JPG,cat\n"


REFUSED: dict[str, tuple[str | Callable[[Path], str], str]] = {
    "a path that leads out": (
        "path,label\ncat/a.JPG,cat\ncat/../../x.png,dog\n",
        r"row 1: 'cat/../../x.png' is not inside .*photos and is not read",
    ),
    "an absolute path": ("path,label\n/etc/passwd,cat\n", "row 0: '/etc/passwd' is not inside"),
    "a link that leads out": (link_out, r"row 0: 'cat/x.png' is not inside .*photos"),
    "a linked folder": (link_folder, r"row 0: 'all/a.JPG' is not inside .*photos"),
    "an address": (
        "path,label\nhttps://example.org/a.png,cat\n",
        "row 0: 'https://example.org/a.png' is an address, which is not followed",
    ),
    "missing files": (
        "path,label\ncat/a.JPG,cat\nx.png,dog\ny.png,dog\n",
        r"2 of 3 files do not exist \(the first is row 1: 'x.png'\); paths are relative to",
    ),
    "no header": ("cat/a.JPG,cat\n", "contains no rows; write a header such as path,label"),
    "no header, two lines": (
        "cat/a.JPG,cat\ndog/c.gif,dog\n",
        "no column of image paths among cat/a.JPG, cat; write a header such as path,label",
    ),
    "no labels": ("path,note\ncat/a.JPG,x\n", "no label column among .*; name it with --label-col"),
    "uneven lines": (
        "path,label\ncat/a.JPG,sea, lake\n",
        r"test.csv:2: has 3 cells, the header 2; quote cells that contain the separator ','",
    ),
    "two columns of one name": ("path,label,label\na,b,c\n", "has several columns 'label'"),
    "an open quote": ('path,label\n"cat/a.JPG,cat\n', "test.csv:2: is not CSV"),
    "nothing": ("", "contains no rows"),
    "numbers for paths": ("label,size\ncat,3\n", "no column of image paths among label, size"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_one_line_names_the_obstacle(tmp_path: Path, kind: str) -> None:
    make, message = REFUSED[kind]
    folder = photos(tmp_path / "photos")
    file = table(folder, make if isinstance(make, str) else make(folder))
    with pytest.raises(UserError) as caught:
        open_dataset(file)
    assert re.search(message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", ["./cat/a.JPG", "dog/../cat//a.JPG", "{}/cat/a.JPG"])
def test_another_spelling_of_a_path_is_the_same_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    other = other.format(photos(tmp_path))
    monkeypatch.chdir(tmp_path)
    table(tmp_path, f"path,label\ncat/a.JPG,cat\ndog/c.gif,dog\n{other},dog\n")
    for file in (tmp_path / "test.csv", Path("test.csv")):
        with pytest.raises(UserError, match=r"1 image with several labels; .*a\.JPG \(cat, dog\)"):
            open_dataset(file)
    table(tmp_path, f"path,label\ncat/a.JPG,cat\n{other},cat\n")
    assert len(open_dataset(Path("test.csv")).dataset) == 2


def test_dots_after_a_linked_folder_name_another_image(tmp_path: Path) -> None:
    for name in ("a.webp", "more/a.webp"):
        (photos(tmp_path) / name).write_bytes((tmp_path / "cat/b.webp").read_bytes())
    (tmp_path / "link").symlink_to(tmp_path / "more" / "dee p")
    file = table(tmp_path, "path,label\na.webp,cat\nlink/../a.webp,dog\n")
    assert open_dataset(file).label_names == ["cat", "dog"]


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"a.txt: is a file; .* a .csv, .tsv or .parquet file"):
        open_dataset(table(tmp_path, "x", "a.txt"))
    with pytest.raises(UserError, match=r"is not UTF-8 text \(byte 5\)"):
        open_dataset(table(tmp_path, "path,é\na,b\n", encoding="latin-1"))
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"a.parquet: its files cannot be loaded"):
        open_dataset(tmp_path / "a.parquet")
    monkeypatch.setattr(image_table, "_MAX_CSV_BYTES", 30)
    with pytest.raises(UserError, match="is larger than 30 bytes"):
        open_dataset(table(photos(tmp_path), lines()))
    loose = tmp_path / "loose"
    loose.mkdir()
    (loose / "a.png").write_bytes(png(1)["bytes"] or b"")
    with pytest.raises(UserError, match=r"a CSV file there \(columns path and label\)"):
        open_dataset(loose)


def test_images_that_cannot_be_read_are_skipped_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = lines() + "cat/none.png,cat\ncat/bad.jpg,dog\n,dog\n"
    (photos(tmp_path) / "cat" / "bad.jpg").write_bytes(b"junk")
    opened = only_readable(open_dataset(table(tmp_path, text), skip_unreadable=True))
    counts = class_counts(opened.dataset["label"], opened.label_names)
    assert counts == {"cat": 2, "dog": 2}
    said = "\n".join(opened.unreadable)
    assert re.search(r"row 4.*none.png' is missing.*\nrow 5.*bad.jpg.*\nrow 6.*null", said), said
    assert "3 of 7 images cannot be read and are skipped" in capsys.readouterr().err


def test_images_alone_need_no_labels(tmp_path: Path) -> None:
    found = open_images(str(table(photos(tmp_path), "file\ncat/a.JPG\ndog/c.gif\n")))
    assert (len(found.dataset), found.image_folder) == (2, tmp_path)
