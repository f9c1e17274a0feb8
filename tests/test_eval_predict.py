"""Predictions for photos, on the command line and from Python."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from quick_python import python
from test_eval_score import NAMES, NUM_IMAGES, write_real, write_run
from test_train import make_set

from eval import load_classifier
from eval.answers import write_csv
from eval.classifier import Answer
from eval.cli import main
from eval.photo_sheet import MOST, write_sheet
from eval.photos import Photo
from eval.rejection import choose_rejection
from factory.common.errors import Failure, Fault, UserError
from train.run import TrainOptions, train

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "pets")


def put(path: Path, seed: int = 0, size: tuple[int, int] = (20, 12), **options: Any) -> Path:
    """Save an image; the suffix is the format."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def predict(run: Path, *arguments: object) -> dict[str, Any]:
    """Return the output of `eval predict --json`; its exit status is 0, else raise."""
    stdout, sys.stdout = sys.stdout, io.StringIO()
    try:
        main(["predict", str(run), *map(str, arguments), "--json"])
        found: dict[str, Any] = json.loads(sys.stdout.getvalue())
    finally:
        sys.stdout = stdout
    return found


def assert_same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    """Check that answers are equal, except for last digits that depend on the batch."""
    scores = {pair["label"]: pair["score"] for pair in other}
    assert {pair["label"]: pair["score"] for pair in one} == pytest.approx(scores, abs=1e-5)


def paths(found: dict[str, Any]) -> list[str]:
    return [one["path"] for one in found["images"]]


def test_scores_are_those_of_eval_score(run: Path, tmp_path: Path) -> None:
    real, pixels, _ = write_real(tmp_path / "real")
    main(["score", str(run), "--real", str(real), "--batch-size", "8", "--save-predictions"])
    [file] = run.glob("predictions-*.parquet")
    rows = pq.read_table(file).to_pydict()
    (tmp_path / "photos").mkdir()
    for number, one in enumerate(pixels):
        Image.fromarray(one).save(tmp_path / "photos" / f"{number:03}.png")
    found = predict(run, tmp_path / "photos", "--batch-size", 8, "--top-k", 5)["images"]
    assert len(found) == NUM_IMAGES
    assert len({one["answer"] for one in found}) > 2
    for one, ranked, probabilities in zip(
        found, rows["ranked"], rows["probabilities"], strict=True
    ):
        assert [pair["label"] for pair in one["predictions"]] == ranked
        scores = [pair["score"] for pair in one["predictions"]]
        # The same sums; only the classes are added up in another order.
        assert scores == pytest.approx(probabilities, rel=1e-12)
    called = load_classifier(run)([Image.fromarray(one) for one in pixels], top_k=5, batch_size=8)
    assert called == [one["predictions"] for one in found]
    by_path = load_classifier(str(run))(str(tmp_path / "photos" / "000.png"))
    assert [one["label"] for one in by_path[0]] == rows["ranked"][0]
    assert [one["score"] for one in by_path[0]] == pytest.approx(rows["probabilities"][0], abs=1e-5)


def test_every_format_is_read_as_in_scoring(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for suffix in ("png", "jpg", "JPEG", "webp", "gif", "bmp", "tiff", "ppm"):
        put(folder / f"a.{suffix}")
    turned = Image.Exif()
    turned[0x0112] = 6
    put(folder / "turned.png", exif=turned)
    with Image.open(folder / "a.png") as upright:
        upright.rotate(270, expand=True).save(folder / "upright.png")
        upright.convert("RGBA").save(folder / "clear.png")
    clear = Image.new("RGBA", (9, 9), (0, 0, 0, 0))
    clear.save(folder / "transparent.png")
    Image.new("RGB", (9, 9), "white").save(folder / "white.png")
    found = {Path(one["path"]).name: one["predictions"] for one in predict(run, folder)["images"]}
    assert len(found) == 13
    same = [("turned.png", "upright.png"), ("transparent.png", "white.png"), ("a.png", "a.bmp")]
    for one, other in [*same, ("a.png", "a.tiff"), ("a.png", "clear.png")]:
        assert_same(found[one], found[other])
    with pytest.raises(AssertionError):
        assert_same(found["a.png"], found["upright.png"])


def test_paths_of_every_kind(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["p/a.png", "p/deep/er/b.JPG", "p/odd [1] ü.png", "q/c.png"]
    for number, name in enumerate(names):
        put(tmp_path / name, number)
    for junk in (".DS_Store", "Thumbs.db", "deep/._b.JPG", "__MACOSX/x.png"):
        (tmp_path / "p" / junk).parent.mkdir(exist_ok=True)
        (tmp_path / "p" / junk).write_bytes(b"junk")
    (tmp_path / "p" / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    found = predict(run, "p")
    assert paths(found) == names[:3]
    assert (found["skipped"], found["not_images"]) == ([], {".txt": 1})
    assert paths(predict(run, "q/c.png", "p/odd [1] ü.png")) == ["q/c.png", "p/odd [1] ü.png"]
    assert paths(predict(run, "*/*.png")) == ["p/a.png", "p/odd [1] ü.png", "q/c.png"]
    assert paths(predict(run, "**/*.[jJ]*")) == ["p/deep/er/b.JPG"]
    # The shell's own expansion has junk in it too; what is named twice is there once.
    assert paths(predict(run, "p/.DS_Store", "p/a.png", "p", "./p/a.png")) == names[:3]
    lines = b"q/c.png\n\np/odd [1] \xc3\xbc.png\r\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert paths(predict(run, "-", "p/a.png")) == ["q/c.png", "p/odd [1] ü.png", "p/a.png"]


def test_a_pattern_follows_no_link_out_of_its_folder(run: Path, tmp_path: Path) -> None:
    """As for the folder itself: no file elsewhere is read, and each link is named."""
    private = put(tmp_path / "private" / "deep" / "me.png").parent.parent
    photos = tmp_path / "photos"
    whole = [put(photos / name, 1) for name in ("a.png", "b/c.png", "b/deep/d.png")]
    put(photos / ".hidden" / "e.png")
    (photos / "f.png").symlink_to(private / "deep" / "me.png")
    (photos / "out").symlink_to(private)
    (photos / "b" / "near.png").symlink_to(photos / "a.png")
    (photos / "b" / "loop").symlink_to(photos)
    near = photos / "b" / "near.png"
    cases = {
        "**/*.png": ([*whole, near], {"f.png' is not inside", "out: is a link out", "loop: is a"}),
        "**": ([*whole, near], {"f.png' is not inside", "out: is a link out", "loop: is a link"}),
        "*/deep/*.png": ([whole[2]], {"out: is a link out"}),
        "*/loop/*.png": ([], {"loop: is a link to a folder", "out: is a link out"}),
        "?.png": ([whole[0]], {"f.png' is not inside"}),
        "o*": ([], {"out: is a link out"}),
        ".h*/*": ([photos / ".hidden" / "e.png"], set()),
    }
    for pattern, (read, reasons) in cases.items():
        if not read:
            with pytest.raises(UserError) as caught:
                predict(run, photos / pattern)
            assert all(reason in str(caught.value) for reason in reasons), caught.value
            continue
        found = predict(run, photos / pattern, "--skip-unreadable")
        assert paths(found) == sorted(map(str, read)), pattern
        assert len(found["skipped"]) == len(reasons), found["skipped"]
        lines = [f"{one['path']}: {one['reason']}" for one in found["skipped"]]
        assert all(any(reason in one for one in lines) for reason in reasons), pattern


def test_the_files_of_a_table_are_predicted(run: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "deep/b.JPG", "c.webp")):
        put(tmp_path / "p" / name, number)
    table = tmp_path / "p" / "mine.csv"
    table.write_text("file,kind\nc.webp,x\ndeep/b.JPG,y\nnone.png,x\n")
    expected = [str(tmp_path / "p" / name) for name in ("c.webp", "deep/b.JPG")]
    found = predict(run, table, tmp_path / "p" / "c.webp", "--skip-unreadable")
    assert paths(found) == expected
    (skipped,) = found["skipped"]
    assert skipped["path"] == str(tmp_path / "p" / "none.png")
    assert "none.png' is missing" in skipped["reason"]
    assert paths(predict(run, table, "--filter", 'kind == "y"')) == expected[1:]
    pq.write_table(pa.table({"photo": ["a.png"]}), tmp_path / "p" / "mine.parquet")
    found = predict(run, tmp_path / "p" / "mine.parquet", "--image-column", "photo")
    assert paths(found) == [str(tmp_path / "p" / "a.png")]
    cells = [{"bytes": (tmp_path / "p" / "a.png").read_bytes(), "path": None}]
    pq.write_table(pa.table({"image": cells}), tmp_path / "rows.parquet")
    assert paths(predict(run, tmp_path / "rows.parquet")) == [f"{tmp_path}/rows.parquet row 0"]


def test_files_of_a_dataset_that_are_in_no_split_change_the_exit_status(
    run: Path, tmp_path: Path
) -> None:
    cells = [{"bytes": put(tmp_path / "a.png").read_bytes(), "path": None}]
    (tmp_path / "rows").mkdir()
    for name in ("cats_test", "dogs"):
        pq.write_table(pa.table({"image": cells}), tmp_path / "rows" / f"{name}.parquet")
    with pytest.raises(Failure, match=r"not read: 1 \.parquet in no split; the other images were"):
        main(["predict", str(run), str(tmp_path / "rows")])
    assert len(predict(run, tmp_path / "rows", "--skip-unreadable")["images"]) == 1


def test_only_a_path_of_the_command_line_is_taken_for_an_id(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def opened(reference: str, **_: object) -> None:
        asked.append(reference)
        raise UserError("the Hub was asked")

    monkeypatch.setattr("eval.photos.open_images", opened)
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "here" / "a.png")
    for name in ("org/set", "org/set@v1", "hf://datasets/org/set"):
        with pytest.raises(UserError, match="the Hub was asked"):
            predict(run, name)
    assert asked == ["org/set", "org/set@v1", "hf://datasets/org/set"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"org/set\norg/secret\n")))
    for name in ("-", "here/set", "org/cat.JPG", "org/rows.csv", "set"):
        with pytest.raises(UserError, match=r"no image can be read: .*: no such file"):
            predict(run, name)
    assert len(asked) == 3


def test_a_folder_of_more_files_than_a_sheet_shows(run: Path, tmp_path: Path) -> None:
    for number in range(MOST + 50):
        put(tmp_path / "photos" / f"{number:03}.png", number, size=(8, 8))
    sheet = tmp_path / "sheet.jpg"
    found = predict(run, tmp_path / "photos", "--batch-size", 64, "--sheet", sheet)
    assert paths(found) == sorted(map(str, (tmp_path / "photos").iterdir()))
    with Image.open(sheet) as image:
        assert image.format == "JPEG"
        assert 2000 < min(image.size) <= max(image.size) < 10_000


def damage(folder: Path) -> dict[str, str]:
    """Write unreadable files into a folder; return a part of the expected reason for each."""
    whole = put(folder / "cut.jpg", size=(64, 64)).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    (folder / "IMG_1.HEIC").write_bytes(heic)
    (folder / "IMG_2.jpg").write_bytes(heic)
    put(folder.parent / "private.png")
    (folder / "link.png").symlink_to(folder.parent / "private.png")
    return {
        "cut.jpg": "the image cannot be decoded (image file is truncated",
        "empty.png": "it is not PNG, JPEG",
        "IMG_1.HEIC": 'it is HEIC; install its decoder (pip install "data-factory[heic]")',
        "IMG_2.jpg": 'it is HEIC; install its decoder (pip install "data-factory[heic]")',
        "link.png": "is a link out of",
    }


@pytest.mark.usefixtures("without_heic")
def test_unreadable_files_are_named_skipped_and_counted(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = put(tmp_path / "photos" / "a.png").parent
    reasons = damage(folder)
    (tmp_path / "void").mkdir()
    given = [folder, tmp_path / "none.png", tmp_path / "*.webp", tmp_path / "void", "x" * 300]
    left_out = len(reasons) + 4
    with pytest.raises(
        Failure, match=rf"^{left_out} of {left_out + 1} paths or images cannot be read"
    ):
        main(["predict", str(run), *map(str, given)])
    seen = capsys.readouterr()
    assert str(folder / "a.png") in seen.out
    for name, reason in reasons.items():
        assert any(name in line and reason in line for line in seen.err.splitlines()), name
    assert "none.png: no such file" in seen.err
    assert "*.webp: no file matches" in seen.err
    assert "void: contains no images" in seen.err
    assert "xxx...: " in seen.err
    found = predict(run, *given, "--skip-unreadable")
    assert paths(found) == [str(folder / "a.png")]
    assert len(found["skipped"]) == left_out
    assert "5 images; 5 paths name no image" in seen.err
    file = tmp_path / "answers.csv"
    capsys.readouterr()
    main(["predict", str(run), *map(str, given), "--allow-unreadable", "--csv", str(file)])
    assert "--allow-unreadable is now called --skip-unreadable" in capsys.readouterr().err
    answered, *skipped = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    assert (answered["path"], answered["skipped"]) == (str(folder / "a.png"), "")
    assert [{"path": row["path"], "reason": row["skipped"]} for row in skipped] == found["skipped"]
    assert {row["path"] for row in skipped} == {
        *map(str, given[1:]),
        *(str(folder / name) for name in reasons),
    }
    assert not any(row["answer"] or row["skipped"].startswith(row["path"]) for row in skipped)
    with pytest.raises(UserError, match=r"no image can be read: .*void: contains no images"):
        main(["predict", str(run), str(tmp_path / "void"), "--skip-unreadable"])
    with pytest.raises(UserError, match=r"no image can be read: .*cut.jpg: the image cannot be"):
        main(["predict", str(run), str(folder / "cut.jpg"), "--skip-unreadable"])
    with pytest.raises(UserError, match=r"cut.jpg: the image cannot be decoded"):
        load_classifier(run)([folder / "a.png", folder / "cut.jpg"])


def test_files_and_folders_without_permission_are_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "p" / "a.png")
    closed = [put(tmp_path / "p" / "b.png"), put(tmp_path / "p" / "closed" / "c.png").parent]
    # The superuser may read everything, so the system's answer is given here.
    for place, name in ((os, "scandir"), (Path, "read_bytes")):
        known = getattr(place, name)

        def denied(path: Any, known: Any = known) -> Any:
            if Path(path) in closed:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return known(path)

        monkeypatch.setattr(place, name, denied)
    found = predict(run, tmp_path / "p", "--skip-unreadable")
    assert paths(found) == [str(tmp_path / "p" / "a.png")]
    assert {one["path"] for one in found["skipped"]} == {*map(str, closed)}
    assert all(one["reason"].startswith("permission to") for one in found["skipped"])


def test_python_takes_paths_and_images_of_any_mode(run: Path, tmp_path: Path) -> None:
    file = put(tmp_path / "a.png")
    classify = load_classifier(run, device="cpu")
    with Image.open(file) as image:
        found = classify([file, str(file), image, image.convert("RGBA")], top_k=2)
    for other in found[1:]:
        assert_same(found[0], other)
    assert [set(one) for one in found[0]] == [{"label", "score"}] * 2
    assert found[0][0]["score"] > found[0][1]["score"]
    assert classify([]) == []
    assert len(classify(file, top_k=100)[0]) == len(NAMES)
    with pytest.raises(TypeError, match="image 1 is ndarray, not a path or a PIL image"):
        classify([file, np.zeros((8, 8, 3))])
    with pytest.raises(UserError, match="image 0: the image of 1 x 500 pixels is more than 100"):
        classify(Image.new("RGB", (1, 500)))
    with pytest.raises(UserError, match="top_k 0"):
        classify(file, top_k=0)
    with pytest.raises(UserError, match="device nonsense was requested"):
        load_classifier(run, device="nonsense")


def test_importing_load_classifier_does_not_import_torch() -> None:
    code = "import eval, sys; sys.exit(str({'torch', 'numpy', 'datasets'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stderr.strip() == "set()"


def test_table_and_csv(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        put(tmp_path / "p" / f"{number}, x.png", number)
    found = predict(run, tmp_path / "p")["images"]
    file = tmp_path / "answers.csv"
    main(["predict", str(run), str(tmp_path / "p"), "--csv", str(file)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["image", "label", "%", "2nd", "%", "3rd", "%"]
    first = found[0]["predictions"][0]
    assert f"0, x.png  {first['label']}" in lines[2]
    assert f"{100 * first['score']:.1f}" in lines[2]
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    assert [row["path"] for row in rows] == [one["path"] for one in found]
    assert [row["label_2"] for row in rows] == [one["predictions"][1]["label"] for one in found]
    assert float(rows[0]["probability_1"]) == first["score"]


def test_no_cell_of_a_csv_file_is_a_formula(tmp_path: Path) -> None:
    names = ["=cmd()", "+1+cmd()", "-1", "@sum(A1)", "a=b"]
    answers = [
        Answer(Photo(f"={name}.png", lambda _: pytest.fail("read")), [(name, 0.5), ("-x", 1e-9)])
        for name in names
    ]
    write_csv(answers, tmp_path / "x.csv", None, skipped=[Fault("=missing", file="=x.png")])
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = [*csv.reader(file)][1:]
    assert [row[2] for row in rows[:5]] == ["'=cmd()", "'+1+cmd()", "-1", "'@sum(A1)", "a=b"]
    assert rows[0][0] == "./==cmd().png" and rows[0][4:6] == ["'-x", "1e-09"]
    assert (rows[5][0], rows[5][-1]) == ("./=x.png", "'=missing")


def test_a_threshold_answers_none_of_these(run: Path, tmp_path: Path) -> None:
    for number in range(8):
        put(tmp_path / "p" / f"{number}.png", number)
    plain = predict(run, tmp_path / "p")
    assert plain["threshold"] is None
    scores = sorted(one["predictions"][0]["score"] for one in plain["images"])
    found = predict(run, tmp_path / "p", "--threshold", repr(scores[4]))
    rejected = [one["answer"] == "none of these" for one in found["images"]]
    assert rejected == [one["predictions"][0]["score"] < scores[4] for one in found["images"]]
    assert sum(rejected) == 4
    without = {**found, "threshold": None, "images": plain["images"]}
    assert without == predict(run, tmp_path / "p", "--threshold", "off")
    for wrong in ("1.5", "nan", "often"):
        with pytest.raises(SystemExit):
            main(["predict", str(run), str(tmp_path / "p"), "--threshold", wrong])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that takes 180 of 200 images and holds out 54 of them, and its data."""
    folder = tmp_path_factory.mktemp("trained")
    data = make_set(folder / "colours", num_images=200)
    values = {"epochs": 4, "batch_size": 16, "warmup_epochs": 0.0, "val_fraction": 0.3}
    options = TrainOptions(
        dataset=str(data),
        model="test_resnet",
        out=folder / "run",
        overrides=values,
        images_per_class=60,
    )
    train(options)
    return folder / "run", data


def test_a_threshold_is_chosen_on_the_images_that_the_run_held_out(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data = trained
    photo = put(tmp_path / "a.png")
    found = predict(run, photo, "--threshold", "auto", "--data", data)
    chosen = found["threshold_chosen"]
    assert chosen["images"] == 54
    assert chosen["threshold"] == found["threshold"]
    assert chosen["correct_rejected"] == int(0.05 * chosen["correct"])
    assert chosen["false_alarm_rate"] == chosen["rejected"] / 54
    # The best epoch was kept by its accuracy on the same images.
    epochs = csv.DictReader((run / "metrics.csv").read_text().splitlines())
    assert chosen["correct"] == round(54 * max(float(epoch["val_top1"]) for epoch in epochs))
    capsys.readouterr()
    main(["predict", str(run), str(photo), "--threshold", "auto", "--data", str(data)])
    printed = capsys.readouterr().out
    assert f"threshold {found['threshold']}, chosen on the 54 training images" in printed
    assert "false-alarm rate, measured on training images" in printed
    # The run names its data, which are still there.
    assert predict(run, photo, "--threshold", "auto") == found


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_threshold_is_chosen_where_training_images_are_not_square(
    tmp_path: Path, fit: str
) -> None:
    for number, name in enumerate(("blue", "red")):
        for index in range(40):
            pixels = np.random.default_rng(index).integers(0, 80, (32, 48, 3), dtype=np.uint8)
            pixels[..., 2 - 2 * number] += 150
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    values = {"epochs": 4, "batch_size": 16, "warmup_epochs": 0.0, "val_fraction": 0.5}
    options = TrainOptions(
        dataset=str(tmp_path / "photos"),
        model="test_resnet",
        out=tmp_path / "run",
        overrides={**values, "image_size": 32, "fit": fit},
    )
    train(options)
    chosen = choose_rejection(load_classifier(tmp_path / "run"), str(tmp_path / "photos"))
    assert chosen.images == 40 and chosen.correct >= 20


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_photos_that_are_not_square_are_held_out_as_they_were_trained_on(
    tmp_path: Path, fit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["file_name,class"]
    rng = np.random.default_rng(0)
    for number in range(90):
        colour = ((200, 40, 40), (40, 200, 40), (40, 40, 200))[number % 3]
        pixels = np.clip(colour + rng.integers(-40, 40, (20, 32, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.JPG")
        rows.append(f"{number}.JPG,{number % 3}")
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    values = {"epochs": 4, "batch_size": 16, "warmup_epochs": 0.0, "val_fraction": 0.3}
    options = TrainOptions(
        dataset=str(tmp_path / "mine.csv"),
        model="test_resnet",
        out=tmp_path / "run",
        overrides={**values, "fit": fit, "image_size": 32},
    )
    train(options)
    capsys.readouterr()
    found = predict(
        *(tmp_path / "run", tmp_path / "0.JPG", "--threshold", "auto"),
        *("--data", tmp_path / "mine.csv"),
    )
    line = "mine.csv: 90 images, 3 classes: 0 30, 1 30, 2 30; 27 held out"
    assert line in capsys.readouterr().err
    assert found["threshold_chosen"]["images"] == 27


def test_a_threshold_needs_the_runs_own_data(
    trained: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    own, data = trained
    photo = str(put(tmp_path / "a.png"))
    auto = ["--threshold", "auto"]
    moved = shutil.copytree(own, tmp_path / "moved")
    for reference in ("gone", "me/colours", "https://localhost/colours", f"file://{data}"):
        config = yaml.safe_load((own / "config.yaml").read_text())
        config["data"]["reference"] = reference
        (moved / "config.yaml").write_text(yaml.safe_dump(config))
        with pytest.raises(UserError, match=f"needs the training data of .* {reference}"):
            main(["predict", str(moved), photo, *auto])
    config["data"] |= {"reference": str(data), "row_filter": "colour > 1"}
    (moved / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"^train --filter 'colour > 1': no column"):
        main(["predict", str(moved), photo, *auto])
    with pytest.raises(UserError, match=r"contains no config.yaml written by `train`"):
        main(["predict", str(run), photo, *auto, "--data", str(data)])
    with pytest.raises(UserError, match=r"--data .* is read by --threshold auto only"):
        main(["predict", str(own), photo, "--data", str(data)])
    # Equally many images of the same classes.
    table = pq.read_table(next(data.rglob("*.parquet")))
    (tmp_path / "other").mkdir()
    order = [*range(3, len(table)), 0, 1, 2]
    pq.write_table(table.take(pa.array(order)), tmp_path / "other" / "train.parquet")
    classifier = load_classifier(own)
    with pytest.raises(
        UserError, match=r"contains other images than the training data of .*trained on"
    ):
        choose_rejection(classifier, str(tmp_path / "other"))


def test_a_dataset_directory_is_read_by_its_rows(run: Path, tmp_path: Path) -> None:
    real, pixels, _ = write_real(tmp_path / "real")
    found = predict(run, real, "--split", "test")
    assert paths(found) == [f"{real} row {number}" for number in range(NUM_IMAGES)]
    Image.fromarray(pixels[7]).save(tmp_path / "7.png")
    alone = predict(run, tmp_path / "7.png", "--batch-size", NUM_IMAGES)["images"][0]
    assert_same(alone["predictions"], found["images"][7]["predictions"])
    with pytest.raises(
        UserError, match="--split applies to datasets only, and none of the paths is a dataset"
    ):
        main(["predict", str(run), str(tmp_path / "7.png"), "--split", "test"])
    with pytest.raises(UserError, match="no column 'photo'"):
        main(["predict", str(run), str(real), "--image-column", "photo"])


LABELS = [
    "cat",
    "tench, Tinca tinca, a freshwater fish with a name that is far too long for any sheet",
    "Donaudampfschifffahrtsgesellschaftskapitänsmützenverwaltungsgebäude",
    "猫",
    "$a_b$ été",
    "two\nlines",
]


def test_a_sheet_shows_long_labels_and_characters_without_a_font(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [
        Photo(name, lambda side, size=size: Image.new("RGB", size, "orange"))
        for name, size in (("a.jpg", (900, 300)), ("ü" * 200, (1, 90)), ("p/猫.png", (8, 8)))
    ]
    answers = [
        Answer(photos[place % 3], [(label, 1 - place / 7), ("cat", 0.0)])
        for place, label in enumerate(LABELS)
    ]
    for name, kind in (("sheet.png", "PNG"), ("sheet.JPG", "JPEG")):
        write_sheet(answers, tmp_path / name, title="pets", label_names=LABELS, threshold=0.4)
        with Image.open(tmp_path / name) as image:
            image.load()
            assert image.format == kind
            assert image.width > image.height > 300
    first, second = (list(answers), answers[::-1])
    for name, one in (("one.png", first), ("two.png", second)):
        write_sheet(one, tmp_path / name, title="pets", label_names=LABELS)
    # Sorted by confidence, whatever the order.
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sheet", "a.gif"], "--sheet a.gif: end the name in .png, .jpg, .jpeg"),
        (["--sheet", "README.md/a.png"], "--sheet: README.md is a file"),
        (["--csv", "docs"], "--csv docs: is a folder; name a file"),
    ],
)
def test_bad_options_are_refused_before_the_work(
    run: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        main(["predict", str(run), str(put(tmp_path / "a.png")), *arguments])


def test_the_exit_status_is_1_if_images_are_unreadable(run: Path, tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"no image")
    command = [python(), "-m", "eval", "predict", str(run), str(put(tmp_path / "a.png"))]
    done = subprocess.run(
        [*command, str(tmp_path / "b.png")], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 1, done.stderr
    assert "a.png" in done.stdout and "b.png" not in done.stdout
    assert "Traceback" not in done.stderr


def test_several_processes_are_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="predict runs as one process"):
        main(["predict", str(run), str(tmp_path)])
