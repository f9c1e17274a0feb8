"""The dataset of real digits."""

import json

import datasets
import numpy as np
import pytest
from sklearn.datasets import load_digits

from eval.cli import main
from eval.digits import write_digits
from factory.common.errors import UserError
from factory.data.open import open_dataset


def test_digits_load_with_exact_pixels_and_names(tmp_path):
    assert write_digits(tmp_path / "digits") == 1797
    loaded = datasets.load_dataset(str(tmp_path / "digits"))
    assert list(loaded) == ["test"]
    test = loaded["test"]
    assert test.num_rows == 1797
    assert test.features["label"].names == [str(digit) for digit in range(10)]
    source = load_digits()
    pixels = np.stack([np.asarray(image) for image in test["image"]])
    assert pixels.shape == (1797, 8, 8, 3)
    assert (pixels == np.rint(source.images * 255 / 16).astype(np.uint8)[..., None]).all()
    assert list(test["label"]) == source.target.tolist()
    opened = open_dataset(str(tmp_path / "digits"), split="test")
    assert opened.label_names == [str(digit) for digit in range(10)]


def test_digits_are_the_same_bytes_each_time(tmp_path):
    write_digits(tmp_path / "one")
    write_digits(tmp_path / "other")
    write_digits(tmp_path / "other")
    files = sorted(path for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert [path.name for path in files] == ["README.md", "test-00000-of-00001.parquet"]
    for path in files:
        twin = tmp_path / "other" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == twin.read_bytes()
    assert "**A test set only**" in files[0].read_text()


def test_digits_overwrite_nothing_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty \(contains thesis.txt\); name a new folder"):
        write_digits(tmp_path)
    with pytest.raises(UserError, match="is a file; give a folder"):
        write_digits(tmp_path / "thesis.txt")


def test_the_command_tells_as_json(tmp_path, capsys):
    main(["digits", str(tmp_path / "digits"), "--json"])
    assert json.loads(capsys.readouterr().out) == {
        "out": str(tmp_path / "digits"),
        "images": 1797,
    }
