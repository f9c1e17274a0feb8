"""Opening datasets: what is found and rejected; a changed folder is read again."""

import io
import json
import math
import os
import shutil
import tempfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from factory.common.errors import Failure, UserError
from factory.data import pixels
from factory.data.open import open_dataset
from factory.data.pixels import decode_images
from factory.data.row_filter import filter_rows
from factory.data.sampling_record import sampling_of


def png(value: int, size: tuple[int, int] = (4, 4)) -> dict[str, bytes | None]:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def write_set(folder: Path, values: list[int], *, split: str = "train") -> Path:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["dark", "bright"]),
            "guidance_scale": datasets.Value("float32"),
            "domain": datasets.Value("string"),
        }
    )
    rows = {
        "image": [png(value) for value in values],
        "label": [int(value > 127) for value in values],
        "guidance_scale": [float(index) for index in range(len(values))],
        "domain": ["photo" if index % 2 else None for index in range(len(values))],
    }
    folder.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}-0.parquet")
    return folder


def test_opens_a_directory_of_parquet_files(tmp_path: Path) -> None:
    opened = open_dataset(str(write_set(tmp_path / "set", [0, 200, 90])))
    assert (opened.image_column, opened.label_column) == ("image", "label")
    assert opened.label_names == ["dark", "bright"]
    assert opened.split == "train"
    images = decode_images(opened.dataset, image_column="image", height=4, width=4)
    assert images.shape == (3, 4, 4, 3)
    assert images[:, 0, 0, 0].tolist() == [0, 200, 90]


def test_opens_a_folder_of_images_by_class(tmp_path: Path) -> None:
    for name, value in (("cat", 10), ("dog", 250)):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("RGB", (6, 5), (value, 0, 0)).save(tmp_path / "set" / name / "a.png")
    opened = open_dataset(str(tmp_path / "set"))
    assert opened.label_names == ["cat", "dog"]
    assert opened.dataset["label"][:] == [0, 1]


def test_opens_datasets_of_save_to_disk_and_encodes_text_labels(tmp_path: Path) -> None:
    data = datasets.Dataset.from_dict({"img": [png(1), png(2)], "label": ["b", "a"]})
    data.cast_column("img", datasets.Image()).save_to_disk(str(tmp_path / "saved"))
    opened = open_dataset(str(tmp_path / "saved"))
    assert opened.image_column == "img"
    assert opened.label_names == ["a", "b"]
    assert opened.dataset["label"][:] == [1, 0]


def test_a_changed_folder_and_a_namesake_are_read_again(tmp_path: Path) -> None:
    first = write_set(tmp_path / "a" / "set", [0, 200])
    second = write_set(tmp_path / "b" / "set", [50, 60])
    assert len(open_dataset(str(first)).dataset) == 2
    assert open_dataset(str(second)).dataset["label"][:] == [0, 0]
    write_set(first, [255, 255, 1])
    os.utime(first / "train-0.parquet", ns=(1, 1))
    assert open_dataset(str(first)).dataset["label"][:] == [1, 1, 0]


def test_images_are_resized_with_antialiasing(tmp_path: Path) -> None:
    stripes = np.zeros((8, 8, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    buffer = io.BytesIO()
    Image.fromarray(stripes).save(buffer, format="PNG")
    data = datasets.Dataset.from_dict({"image": [{"bytes": buffer.getvalue(), "path": None}]})
    data = data.cast_column("image", datasets.Image())
    small = decode_images(data, image_column="image", height=4, width=4, resample="bilinear")
    assert abs(float(small[:, 1:3, 1:3].mean()) - 127.5) < 40


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("guidance_scale < 2", [0, 1]),
        ("1 <= guidance_scale <= 2", [1, 2]),
        ("domain == 'photo'", [1, 3]),
        ("domain is None", [0, 2]),
        ("domain is not None and label == 'bright'", [1]),
        ("not (label == 'bright') or guidance_scale == 1", [0, 1, 2, 3]),
        ("label in ('bright', 'dark')", [0, 1, 2, 3]),
        ("domain not in ['sketch']", [1, 3]),
        ("label != 1", [0, 2, 3]),
    ],
)
def test_filters(tmp_path: Path, expression: str, kept: list[int]) -> None:
    folder = write_set(tmp_path / "set", [0, 200, 90, 3])
    opened = open_dataset(str(folder), row_filter=expression)
    assert [int(value) for value in opened.dataset["guidance_scale"][:]] == kept


FILTER_FAULTS = [
    ("guidance < 3", "no column guidance; did you mean guidance_scale?"),
    ("label == 'brigt'", "column label has no class 'brigt'; did you mean bright?"),
    ("class == 'cat'", "class is a reserved word; compare label, e.g. label == 'cat'"),
    (
        "domain == 'first class' and (guidance_scale < 3",
        "'(' was never closed; write e.g. guidance_scale < 3",
    ),
    ("guidance_scale < ", "invalid syntax; write e.g. guidance_scale < 3"),
    ("guidance_scale.real < 3", "one side of a comparison must be a column"),
    ("len(domain) == 3", "no column len; columns: label, guidance_scale, domain"),
    ("domain", "a bare column must be true or false; compare it, e.g. domain == ..."),
    ("guidance_scale == image.x", "image.x is not a number, a text or None"),
    ("domain in 'photo'", "`in` needs a list, e.g. domain in ['a', 'b']"),
    ("domain is 'photo'", "`is` compares with None only; use =="),
    ("1 < 2", "one side of a comparison must be a column"),
    ("guidance > 3", "no column guidance; did you mean guidance_scale?"),
    ("guidance_scale > 100", "it matches none of 2 rows"),
    ("domain == 3", "domain is a text column, 3 is not a text"),
    ("lambda: 1", "Lambda is not allowed; compare columns with literals"),
    ("guidance_scale < 'three'", "guidance_scale is a number column, 'three' is a text"),
]


@pytest.mark.parametrize(("expression", "message"), FILTER_FAULTS)
def test_filter_faults(tmp_path: Path, expression: str, message: str) -> None:
    folder = write_set(tmp_path / "set", [0, 200])
    with pytest.raises(UserError) as caught:
        open_dataset(str(folder), row_filter=expression)
    assert str(caught.value) == f"--filter {expression!r}: {message}"


def test_missing_datasets_and_columns_are_named(tmp_path: Path) -> None:
    folder = str(write_set(tmp_path / "set", [0, 200]))
    cases = [
        (lambda: open_dataset(str(tmp_path / "gone")), "gone: directory not found"),
        (lambda: open_dataset(folder, split="trian"), "no split 'trian'; did you mean train?"),
        (lambda: open_dataset(folder, config_name="x"), "no config 'x'; it has: default"),
        (lambda: open_dataset(folder, label_column="lable"), "did you mean label?"),
        (lambda: open_dataset(folder, image_column="label"), "not a column of images"),
        (lambda: open_dataset(__file__), "test_open_data.py: is a file; give the dataset's"),
    ]
    for call, message in cases:
        with pytest.raises(UserError) as caught:
            call()
        assert message in str(caught.value)


def test_which_of_several_configs_is_read_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_set(tmp_path / "set", [0, 200])
    entry = "- config_name: {}\n  data_files: train-*.parquet\n"
    marked = entry.format("b") + "  default: true\n"
    card = f"---\nconfigs:\n{entry.format('a')}{{}}---\n"
    (folder / "README.md").write_text(card.format(marked))
    assert open_dataset(folder).config_name == "b"
    assert "using b, the default of its 2 configs (a, b); name another" in capsys.readouterr().err
    assert open_dataset(folder, config_name="a").config_name == "a"
    assert "configs" not in capsys.readouterr().err
    with pytest.raises(UserError, match=r"no config 'aa'; did you mean a\?"):
        open_dataset(folder, config_name="aa")
    (folder / "README.md").write_text(card.format(entry.format("b")))
    with pytest.raises(UserError, match="name one of its configs with --config: a, b"):
        open_dataset(folder)
    open_dataset(folder, config_name="b").dataset.save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=r"save_to_disk.*no config 'b'; omit --config"):
        open_dataset(tmp_path / "saved", config_name="b")


def test_a_set_without_labels_is_refused(tmp_path: Path) -> None:
    data = datasets.Dataset.from_dict({"image": [png(1)], "caption": ["x"]})
    (tmp_path / "set").mkdir()
    data.cast_column("image", datasets.Image()).to_parquet(tmp_path / "set" / "train.parquet")
    with pytest.raises(UserError) as caught:
        open_dataset(str(tmp_path / "set"))
    assert str(caught.value) == (
        f"{tmp_path / 'set'}: no label column among image, caption; name it with --label-column"
    )


def test_a_broken_image_is_named_by_row() -> None:
    data = datasets.Dataset.from_dict({"image": [png(1), {"bytes": b"nonsense", "path": None}]})
    data = data.cast_column("image", datasets.Image())
    with pytest.raises(UserError, match=r"row 1: the image cannot be decoded"):
        decode_images(data, image_column="image", height=4, width=4)


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("scale == 1.1", [0]),
        ("scale <= 1.1", [0, 2]),
        ("scale != 1.1", [1, 2]),
        ("0.1 == scale", [2]),
        ("seed > 1e18", [0]),
        ("seed < 3.5", [2]),
        ("seed == 9007199254740993", [1]),
        ("7.0 <= seed", [0, 1]),
        ("seed < 1e30", [0, 1, 2]),
    ],
)
def test_filters_compare_numbers_of_any_type(expression: str, kept: list[int]) -> None:
    columns = {"scale": [1.1, 7.5, 0.1], "seed": [2**62, 2**53 + 1, 3], "row": [0, 1, 2]}
    types = {"scale": "float32", "seed": "int64", "row": "int64"}
    features = datasets.Features({name: datasets.Value(kind) for name, kind in types.items()})
    rows = datasets.Dataset.from_dict(columns, features=features)
    assert filter_rows(rows, expression)["row"][:] == kept


def write_labels(folder: Path, labels: list[int | None]) -> Path:
    """Write images with plain integers as labels."""
    types = {"image": datasets.Image(), "label": datasets.Value("int64")}
    rows = {"image": [png(9)] * len(labels), "label": labels}
    folder.mkdir()
    made = datasets.Dataset.from_dict(rows, features=datasets.Features(types))
    made.to_parquet(folder / "train.parquet")
    return folder


def test_numbers_below_zero_are_no_class(tmp_path: Path) -> None:
    opened = open_dataset(str(write_labels(tmp_path / "set", [3, -1, 1, None, -100])))
    assert opened.label_names == ["1", "3"]
    assert opened.dataset["label"][:] == [1, None, 0, None, None]


def test_labels_beyond_the_names_are_refused(tmp_path: Path) -> None:
    folder = write_labels(tmp_path / "set", [0, 1, 2])
    names = {"label": {"_type": "ClassLabel", "names": ["a", "b"]}, "image": {"_type": "Image"}}
    table = pq.read_table(folder / "train.parquet")
    printed = {"huggingface": json.dumps({"info": {"features": names}})}
    pq.write_table(table.replace_schema_metadata(printed), folder / "train.parquet")
    with pytest.raises(UserError, match="go up to 2, but only 2 classes have names"):
        open_dataset(str(folder))


def test_files_without_rows_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its files contain no rows"):
        open_dataset(str(write_labels(tmp_path / "set", [])))


def test_a_preferred_split_is_taken_and_a_filter_never_moves_to_another(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", [0, 200])
    write_set(folder, [0, 200, 3], split="test")
    assert open_dataset(str(folder), preferred_split="test").split == "test"
    assert open_dataset(str(folder)).split == "train"
    with pytest.raises(UserError, match="matches none of 3 rows"):
        open_dataset(str(folder), preferred_split="test", row_filter="guidance_scale > 5")


def test_too_many_pixels_for_the_disk_are_refused_before_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened = open_dataset(str(write_set(tmp_path / "set", [10])))
    side = 100_000 + math.isqrt(shutil.disk_usage(tmp_path).free // 3)
    message = rf"{tmp_path}: the decoded images need .* GiB, but only .* GiB are free; set TMPDIR"
    with pytest.raises(Failure, match=message):
        decode_images(opened.dataset, image_column="image", height=side, width=side)
    assert not list(tmp_path.glob("*.images"))


def test_the_file_of_large_datasets_has_its_space_from_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(pixels, "_IN_MEMORY_BYTES", 0)
    with (tmp_path / "reserved").open("wb") as file:
        pixels._reserve(file.fileno(), 1 << 20, remedy="")
        assert os.fstat(file.fileno()).st_blocks * 512 >= 1 << 20
        with pytest.raises(Failure, match=r"no space for .* \(File too large\); set TMPDIR"):
            pixels._reserve(file.fileno(), 2**63 - 1, remedy="set TMPDIR")
    opened = open_dataset(str(write_set(tmp_path / "set", [10, 200])))
    images = decode_images(opened.dataset, image_column="image", height=4, width=4)
    assert isinstance(images, np.memmap) and images[:, 0, 0, 0].tolist() == [10, 200]
    assert not list(tmp_path.glob("*.images"))


_CARD = "---\nconfigs:\n- config_name: default\n  data_files: train-*.parquet\n---\n"


@pytest.mark.parametrize("card", [None, _CARD], ids=["bare", "card"])
def test_glob_characters_in_a_path_are_literal(tmp_path: Path, card: str | None) -> None:
    for name, values in (("a [1]?*", [0, 200]), ("a 1", [7])):
        folder = write_set(tmp_path / name / "set", values)
        if card:
            (folder / "README.md").write_text(card)
    assert len(open_dataset(tmp_path / "a [1]?*" / "set").dataset) == 2
    folder = tmp_path / "files"
    for name, values in (("a [1]", [0, 200]), ("a 1", [7])):
        (write_set(folder, values) / "train-0.parquet").rename(folder / f"{name}.parquet")
    assert len(open_dataset(folder).dataset) == 3


def test_a_card_that_names_a_missing_file_is_reported_shortly(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", [0])
    (folder / "README.md").write_text(_CARD.replace("train-*", "data/train"))
    with pytest.raises(UserError, match="Unable to find") as caught:
        open_dataset(folder)
    assert len(str(caught.value)) < 300 + len(str(folder))


def write_classes(path: Path, names: list[str], labels: list[str]) -> datasets.Dataset:
    types = {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
    rows = {"image": [png(9)] * len(labels), "label": [names.index(label) for label in labels]}
    made = datasets.Dataset.from_dict(rows, features=datasets.Features(types))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        made.to_parquet(path)
    else:
        made.save_to_disk(path.parent / "saved")
        shutil.move(next((path.parent / "saved").glob("*.arrow")), path)
        shutil.rmtree(path.parent / "saved")
    return made


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize("names", ["a b", "train test"])
def test_files_that_number_their_classes_otherwise_are_refused(
    tmp_path: Path, suffix: str, names: str
) -> None:
    """datasets takes the names of the first file for all: cats would be dogs."""
    one, two = (tmp_path / "set" / f"{name}.{suffix}" for name in names.split())
    write_classes(one, ["cat", "dog"], ["cat", "cat"])
    write_classes(two, ["dog", "cat"], ["cat"])
    message = r"\.(parquet|arrow): class 0 of column 'label' is (dog|cat) there and (dog|cat) in"
    with pytest.raises(UserError, match=message):
        open_dataset(tmp_path / "set")
    write_classes(two, ["cat", "dog", "emu"], ["cat", "dog"])
    assert open_dataset(tmp_path / "set").dataset["label"][:2] == [0, 0]


def test_a_saved_dataset_shows_all_its_columns_and_plain_values(tmp_path: Path) -> None:
    write_classes(tmp_path / "x.parquet", ["cat", "dog"], ["cat", "dog"]).save_to_disk(
        tmp_path / "set"
    )
    state = json.loads((tmp_path / "set/state.json").read_text())
    odd = {"_format_type": "numpy", "_format_columns": ["label"]}
    (tmp_path / "set/state.json").write_text(json.dumps(state | odd))
    opened = open_dataset(tmp_path / "set")
    assert opened.dataset.column_names == ["image", "label"]
    assert [type(one) for one in opened.dataset[0].values()] == [dict, int]


def test_files_that_are_in_no_split_are_counted(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", [0, 200])
    (folder / "train-0.parquet").rename(folder / "dogs_test.parquet")
    for name in ("cats", "horses", ".hidden"):
        (write_set(folder, [0]) / "train-0.parquet").rename(folder / f"{name}.parquet")
    with pytest.raises(UserError, match=r"set: not read: 2 \.parquet in no split; name the files"):
        open_dataset(folder)
    opened = open_dataset(folder, skip_unreadable=True)
    assert (opened.split, len(opened.dataset)) == ("test", 2)
    assert opened.left_out == {".parquet in no split": 2}
    (folder / "dogs_test.parquet").rename(folder / "dogs.parquet")
    opened = open_dataset(folder)
    assert (opened.split, len(opened.dataset), opened.left_out) == ("train", 4, {})


def test_the_manifest_beside_rows_says_how_images_were_sampled(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", [0, 200])
    assert sampling_of(open_dataset(folder)) is None
    own = {"sampling": {"guidance_scale": 7.5, "seed": 3}}
    other = {"sampling": {"guidance_scale": {"uniform": [1, 5]}, "seed": 3}}
    configs = {"default": {"sampling": None, "members": ["a", "b"]}, "a": own, "b": other}
    for found, expected in (
        ({"default": own}, {"default": {"guidance_scale": 7.5}}),
        (configs, {"a": {"guidance_scale": 7.5}, "b": {"guidance_scale": {"uniform": [1, 5]}}}),
        # A dataset of an older version, and a file of another program.
        ({"default": {"images": 2}}, {}),
        ({"default": 3, "a": []}, None),
    ):
        (folder / "manifest.json").write_text(json.dumps({"configs": found}))
        assert sampling_of(open_dataset(folder)) == expected
    for text in ("{", "[1]"):
        (folder / "manifest.json").write_text(text)
        assert sampling_of(open_dataset(folder)) is None
    (folder / "manifest.json").rename(tmp_path / "manifest.json")
    (folder / "manifest.json").symlink_to(tmp_path / "manifest.json")
    assert sampling_of(open_dataset(folder)) is None


def test_the_home_of_an_unknown_user_is_one_line() -> None:
    with pytest.raises(UserError, match="~no-such-user/x"):
        open_dataset("~no-such-user/x")
