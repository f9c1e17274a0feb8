"""Image folders on the Hub, read like local ones by `train` and `eval score`, and offline."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hub_parts import ORG, run_factory, run_python
from localhub import LocalHub
from localhub_repos import Repo
from PIL import Image

from factory.hub import download

ATTRIBUTES = {".gitattributes": b"*.jpg filter=lfs\n", "README.md": b"---\nlicense: mit\n---\n"}

# A line per "REFERENCE [SPLIT]": images of each class and files not read, or the refusal.
_READ = """
import json, sys
from factory.common.errors import UserError
from factory.data.open import open_dataset
from factory.data.row_counts import class_counts
from factory.common.row_images import read_image

skip = "--skip" in sys.argv
for reference in (one for one in sys.argv[1:] if one != "--skip"):
    name, _, split = reference.partition(" ")
    try:
        opened = open_dataset(name, split=split or None, skip_unreadable=skip)
    except UserError as error:
        print(json.dumps(str(error)))
        continue
    for item in opened.dataset[opened.image_column]:
        read_image(item, where="a row", folder=opened.image_folder)
    counts = class_counts(opened.dataset[opened.label_column], opened.label_names)
    print(json.dumps([counts, opened.left_out]))
"""


def publish(hub: LocalHub, name: str, *images: str, **texts: str) -> str:
    """Commit images, all different, and texts (`a__csv` is `a.csv`) as a dataset repository."""
    files = {key.replace("__", "."): text.encode() for key, text in texts.items()} | ATTRIBUTES
    for number, path in enumerate(images):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, format="JPEG")
        files[path] = data.getvalue()
    repo = hub.repos.setdefault(("datasets", f"{ORG}/{name}"), Repo("datasets", f"{ORG}/{name}"))
    blobs = {path: hub.regular_blob(data) for path, data in files.items()}
    repo.add_commit("main", "photos", "", "someone", blobs)
    return f"hf://datasets/{ORG}/{name}"


def photos(*folders: str, count: int = 3) -> list[str]:
    return [f"{folder}/{number}.jpg" for folder in folders for number in range(count)]


def read(hub: LocalHub, home: Path, *references: str, **env: str) -> list[object]:
    done = run_python(hub, home, _READ, *references, **env)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_hub_folders_are_read_by_their_folders(either_hub: LocalHub, tmp_path: Path) -> None:
    hub, card = either_hub, {".md": 1}
    names = [
        publish(hub, "plain", *photos("cat", "dog")),
        publish(hub, "words", *photos("cat", "dog"), "dog/test_dog.jpg", "cat/on train.jpg"),
        publish(hub, "years", *photos("cat/2024", "cat/2025/may", "dog/2024")),
        publish(hub, "junk", *photos("cat", "dog", "__MACOSX/cat"), "._a.jpg", labels__csv="a,b\n"),
        publish(hub, "marks", *photos("Cat [a] #1", "100 % dog")),
        publish(hub, "tables", *photos("cat", "dog"), features__parquet="no Parquet"),
        publish(hub, "wrapped", *photos("data/train/cat", "data/train/dog", "data/test/cat")),
    ]
    even = {"cat": 3, "dog": 3}
    expected: list[object] = [
        [even, card],
        [{"cat": 4, "dog": 4}, card],
        [{"cat": 6, "dog": 3}, card],
        [even, {".csv": 1, **card}],
        [{"100 % dog": 3, "Cat [a] #1": 3}, card],
        [even, {**card, ".parquet": 1}],
        [even, card],
    ]
    assert read(hub, tmp_path, *names) == expected
    splits = publish(hub, "splits", *photos("train/cat", "train/dog"), *photos("val/cat", count=2))
    wanted = [splits, f"{splits} validation", f"{splits}@main", f"{ORG}/splits train"]
    found = [[even, card], [{"cat": 2, "dog": 0}, card], [even, card], [even, card]]
    assert read(hub, tmp_path, *wanted) == found
    hub.clear_log()
    assert read(hub, tmp_path, *names, *wanted, HF_HUB_OFFLINE="1") == [*expected, *found]
    assert hub.log() == []


def test_metadata_on_the_hub_names_the_rows(either_hub: LocalHub, tmp_path: Path) -> None:
    rows = "file_name,label\ncat/0.jpg,tabby\ndog/0.jpg,collie\n"
    name = publish(either_hub, "named", *photos("cat", "dog"), metadata__csv=rows)
    left = {".jpg without a row": 4, ".md": 1}
    (said,) = read(either_hub, tmp_path, name)
    assert f"{name}: not read: 4 .jpg without a row; list these images" in str(said)
    assert read(either_hub, tmp_path, name, "--skip") == [[{"collie": 1, "tabby": 1}, left]]


def test_words_in_file_names_choose_no_split_on_the_hub(
    either_hub: LocalHub, tmp_path: Path
) -> None:
    hub = either_hub
    rows = "file_name,label\nmy test.jpg,cat\ntrain.jpg,dog\na [1].jpg,dog\n"
    named = publish(hub, "words", "my test.jpg", "train.jpg", "a [1].jpg", metadata__csv=rows)
    rows = "file_name,label\ntrain/test.jpg,cat\ntest/b.jpg,dog\n"
    splits = publish(hub, "parts", "train/test.jpg", "test/b.jpg", metadata__csv=rows)
    lost = publish(hub, "tables", test__csv="label,image\na,b\n", more__csv="label,image\na,b\n")
    wanted = [named, splits, f"{splits} test"]
    card = {".md": 1}
    expected: list[object] = [[{"cat": 1, "dog": 2}, card], [{"cat": 1}, card], [{"dog": 1}, card]]
    assert read(hub, tmp_path, *wanted) == expected
    assert read(hub, tmp_path, *wanted, HF_HUB_OFFLINE="1") == expected
    code = (
        "import sys; from factory.data.open import open_images, open_rows\n"
        "found = open_images(sys.argv[1]); print(found.split, len(found.dataset), found.left_out)\n"
        "open_rows(sys.argv[2], config_name=None, split='test')"
    )
    bare = publish(hub, "bare", "my test.jpg", "b.jpg", "c.jpg")
    done = run_python(hub, tmp_path, code, bare, lost)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["None 3 {'.md': 1}"]
    assert f"{lost}: not read: 1 .csv in no split" in done.stderr


def test_faults_are_reported_before_images_are_fetched(
    either_hub: LocalHub, tmp_path: Path
) -> None:
    avif = publish(either_hub, "avif", *photos("cat", "dog"), "dog/a.AVIF")
    loose = publish(either_hub, "loose", *photos("cat", "dog"), "contact.jpg")
    zipped = publish(either_hub, "zipped", photos__zip="PK")
    either_hub.clear_log()
    said = [str(one) for one in read(either_hub, tmp_path, avif, loose, zipped)]
    assert "1 of 7 images is in an unsupported format (1 .avif; the first is" in said[0]
    assert "contact.jpg is not in a class folder" in said[1]
    assert said[2].endswith("/zipped: contains archives (1 .zip) and no images; unpack them")
    assert all(line.startswith(f"{ORG}/") for line in said)
    assert not [one for one in either_hub.log("resolve") if ".jpg" in one["path"]]
    skipped = read(either_hub, tmp_path, avif, "--skip")
    assert skipped == [[{"cat": 3, "dog": 3}, {".avif": 1, ".md": 1}]]


@pytest.mark.parametrize("others", [[], ["README.md"], ["cat/0.jpg", "notes"]])
def test_patterns_fetch_the_wanted_files_alone(others: list[str]) -> None:
    from huggingface_hub.utils import filter_repo_objects

    wanted = ["a [1].jpg", "dog/x.jpg", "dog/y.PNG", "plain"]
    allow, ignore = download._patterns(wanted, others)
    paths = sorted([*wanted, *others])
    kept = filter_repo_objects(paths, allow_patterns=allow, ignore_patterns=ignore)
    assert list(kept) == wanted


def test_many_files_need_few_patterns() -> None:
    wanted = [f"class {number % 7}/{number}.jpg" for number in range(10_000)]
    assert download._patterns(wanted, ["README.md", "._0.jpg"]) == (["*.jpg"], ["._0.jpg"])


def test_train_and_score_read_a_hub_folder(either_hub: LocalHub, tmp_path: Path) -> None:
    real = publish(either_hub, "pets", *photos("train/cat", "train/dog", "test/cat", "test/dog"))
    run = tmp_path / "run"
    arguments = ["--preset", "quick", "--epochs", 1, "--total-batch-size", 4, "--val-fraction", 0]
    model = ["--model", "test_resnet", "--out", run]
    done = run_factory(either_hub, tmp_path, real, *arguments, *model, module="train")
    assert done.returncode == 0, done.stderr
    line = "split train: 6 images, 2 classes: cat 3, dog 3; not read: 1 .md"
    assert f"{real}, {line}" in done.stderr
    data = yaml.safe_load((run / "config.yaml").read_text())["data"]
    assert data["class_counts"] == {"cat": 3, "dog": 3} and data["left_out"] == {".md": 1}
    assert data["commit"] == either_hub.repos["datasets", f"{ORG}/pets"].branches["main"]
    done = run_factory(either_hub, tmp_path, "score", run, "--real", real, module="eval")
    assert done.returncode == 0, done.stderr
    assert f"{real}, {line.replace('train', 'test')}" in done.stderr
