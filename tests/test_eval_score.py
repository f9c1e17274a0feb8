"""Scores of a saved model on a tiny real dataset."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
from accelerate import PartialState, debug_launcher
from PIL import Image
from safetensors.torch import load_file, save_file

from eval.cli import main
from eval.scores_io import read_scores
from factory.common.devices import this_process
from factory.common.errors import Failure, UserError

ROOT = Path(__file__).parent.parent
NAMES = ["ant", "bee", "cat", "dog", "emu", "fox", "F/A-18"]
NUM_IMAGES = 30


def write_run(folder, names=NAMES, order=None, **changes):
    """Save a model with the outputs of a fixed model, in `order`."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=len(names))
    _spread_outputs(model.eval())
    state = model.state_dict()
    if order is not None:
        state["fc.weight"], state["fc.bias"] = state["fc.weight"][order], state["fc.bias"][order]
        names = [names[index] for index in order]
    folder.mkdir()
    save_file(
        {key: value.contiguous() for key, value in state.items()}, folder / "model.safetensors"
    )
    config = {
        "architecture": "test_resnet",
        "num_classes": len(names),
        "label_names": names,
        "pretrained_cfg": {
            "input_size": [3, 32, 32],
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "squash",
            "mean": [0.4, 0.5, 0.6],
            "std": [0.2, 0.25, 0.3],
        },
    }
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def _spread_outputs(model):
    """Scale the last layer so that noise gets many classes; with fresh weights it gets one."""
    noise = torch.nn.functional.interpolate(torch.rand(64, 3, 12, 10), (32, 32), mode="bilinear")
    with torch.no_grad():
        logits = model((noise - 0.5) / 0.25)
        model.fc.weight /= logits.std(0)[:, None]
        model.fc.bias.copy_((model.fc.bias - logits.mean(0)) / logits.std(0))


def write_real(folder, names=NAMES):
    rng = np.random.default_rng(1)
    pixels = rng.integers(256, size=(NUM_IMAGES, 12, 10, 3), dtype=np.uint8)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
    )
    labels = [index % len(names) for index in range(NUM_IMAGES)]
    rows = {"image": [Image.fromarray(one) for one in pixels], "label": labels}
    folder.mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(folder / "test.parquet"))
    return folder, pixels, np.asarray(labels)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """One run scored on the command line, in batches that do not divide the dataset."""
    folder = tmp_path_factory.mktemp("scored")
    run = write_run(folder / "run")
    (run / "config.yaml").write_text(
        "seed: 3\ndata: {config_name: base-class}\nhyperparameters: {val_fraction: 0.1}\n"
    )
    real, pixels, labels = write_real(folder / "real")
    arguments = ["--real", str(real), "--batch-size", "8", "--plot"]
    main(["score", str(run), *arguments, "--predictions", str(folder / "rows.parquet")])
    return folder, pixels, labels


def test_metrics_equal_a_hand_calculation(scored):
    folder, pixels, labels = scored
    model = timm.create_model(f"local-dir:{folder / 'run'}", pretrained=True).eval()
    # Of 10 x 12 pixels: the middle is cropped.
    square = [Image.fromarray(one[1:11]) for one in pixels]
    resized = [one.resize((32, 32), Image.Resampling.BILINEAR) for one in square]
    x = np.stack([np.asarray(one) for one in resized]).astype(np.float32) / 255
    x = (x - np.float32([0.4, 0.5, 0.6])) / np.float32([0.2, 0.25, 0.3])
    with torch.no_grad():
        logits = model(torch.from_numpy(x).permute(0, 3, 1, 2))
    first = logits.argmax(1).numpy()
    assert len(set(first.tolist())) > 2
    scores = read_scores(folder / "run" / "scores-real-test.json")
    assert scores.metrics.num_correct == (first == labels).sum()
    assert scores.metrics.top1 == (first == labels).mean()
    in_five = (logits.topk(5).indices.numpy() == labels[:, None]).any(1)
    assert scores.metrics.top5 == in_five.mean()
    rows = pq.read_table(folder / "rows.parquet").to_pydict()
    assert rows["predicted"] == [NAMES[index] for index in first]
    assert rows["label"] == [NAMES[index] for index in labels]
    confidence = logits.softmax(1).max(1).values.numpy()
    assert rows["probability"] == pytest.approx(confidence, abs=1e-4)


def test_nothing_is_written_through_links_in_the_folder_of_a_stranger(scored, tmp_path):
    folder, *_ = scored
    run = Path(shutil.copytree(folder / "run", tmp_path / "run"))
    mine = tmp_path / "mine"
    mine.write_text("mine")
    written = ("scores-real-test.json", "scores-real-test.png", "rows.parquet")
    for name in written:
        (run / f".{name}.tmp").symlink_to(mine)
    rows = str(run / "rows.parquet")
    arguments = ["--real", str(folder / "real"), "--plot", "--predictions", rows]
    main(["score", str(run), *arguments])
    assert mine.read_text() == "mine"
    assert not list(run.glob(".*.tmp"))
    assert all((run / name).stat().st_size > 1000 for name in written)


def test_scores_contain_all_measures(scored):
    folder, *_ = scored
    scores = read_scores(folder / "run" / "scores-real-test.json")
    assert scores.real.num_images == NUM_IMAGES
    assert (scores.real.name, scores.real.split) == ("real-test", "test")
    assert scores.training["data"] == {"config_name": "base-class"}
    assert scores.model.selected_on == "held-out training"
    assert scores.preprocessing.interpolation == "bilinear"
    assert scores.preprocessing.input_size == (3, 32, 32)
    with Image.open(folder / "run" / "scores-real-test.png") as plot:
        assert plot.format == "PNG" and min(plot.size) > 300


def test_other_label_order_scores_the_same(scored, tmp_path):
    folder, *_ = scored
    run = write_run(tmp_path / "permuted", order=[3, 1, 6, 0, 2, 5, 4])
    main(["score", str(run), "--real", str(folder / "real"), "--batch-size", "8"])
    before = read_scores(folder / "run" / "scores-real-test.json")
    after = read_scores(run / "scores-real-test.json")
    assert after.labels == before.labels
    assert after.metrics.confusion_matrix == before.metrics.confusion_matrix
    assert after.metrics.per_class == before.metrics.per_class
    assert after.metrics.top5 == before.metrics.top5
    assert after.real == before.real


def test_model_may_know_more_classes(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    real, *_ = write_real(tmp_path / "few", names=["F/A-18", "bee"])
    main(["score", str(run), "--real", str(real)])
    scores = read_scores(run / "scores-few-test.json")
    assert scores.labels.names == ["F/A-18", "bee", "ant", "cat", "dog", "emu", "fox"]
    assert np.asarray(scores.metrics.confusion_matrix).shape == (2, 7)
    assert "5 of its 7 classes are not in few-test (ant, cat, dog" in capsys.readouterr().err


def test_a_label_map_translates_merges_and_is_recorded(scored, tmp_path, capsys):
    folder = scored[0]
    theirs = ["Ameise", "bee", "kitten", "cat", "emu", "fox", "F/A-18"]
    real, _, labels = write_real(tmp_path / "real", names=theirs)
    run = write_run(tmp_path / "run")
    path = tmp_path / "map.csv"
    path.write_text("real,model\nAmeise,ant\nkitten,cat\n")
    main(["score", str(run), "--real", str(real), "--labels", str(path)])
    printed = capsys.readouterr().err
    assert "labels of real-test translated by the label map" in printed
    assert "counted as one class: kitten, cat" in printed
    scores = read_scores(run / "scores-real-test.json")
    assert scores.labels.names == ["ant", "bee", "cat", "emu", "fox", "F/A-18", "dog"]
    assert (scores.labels.matched, scores.labels.num_real) == ("map", 6)
    assert scores.labels.map == {"Ameise": "ant", "kitten": "cat"}
    assert scores.labels.merged == [["kitten", "cat"]]
    predicted = pq.read_table(folder / "rows.parquet").to_pydict()["predicted"]
    truth = [{"Ameise": "ant", "kitten": "cat"}.get(theirs[one], theirs[one]) for one in labels]
    right = sum(a == b for a, b in zip(predicted, truth, strict=True))
    assert scores.metrics.num_correct == right
    with pytest.raises(UserError, match=r"has no label 'Ameise'; .*\n.*has no label 'kitten'"):
        main(["score", str(run), "--real", str(folder / "real"), "--labels", str(path)])


def test_imagenet_style_labels_score_as_their_first_synonym(scored, tmp_path, capsys):
    folder = scored[0]
    theirs = [f"{name.title()}, Genus {name}us" for name in NAMES]
    real, *_ = write_real(tmp_path / "real", names=theirs)
    run = write_run(tmp_path / "run")
    main(["score", str(run), "--real", str(real), "--batch-size", "8"])
    printed = capsys.readouterr().err
    assert "class names of real-test contain synonyms; matched by the part before" in printed
    scores = read_scores(run / "scores-real-test.json")
    assert (scores.labels.matched, scores.labels.names) == ("synonym", theirs)
    assert scores.metrics == read_scores(folder / "run" / "scores-real-test.json").metrics


def test_unreadable_images_are_named_or_left_out_and_counted(scored, tmp_path, capsys):
    folder = scored[0]
    table = pq.read_table(folder / "real" / "test.parquet")
    rows = table.to_pylist()
    rows[3]["image"] = {"bytes": rows[3]["image"]["bytes"][:60], "path": "fox/3.png"}
    rows[20]["image"] = None
    for name, kept in (("damaged", range(NUM_IMAGES)), ("rest", set(range(NUM_IMAGES)) - {3, 20})):
        (tmp_path / name).mkdir()
        some = pa.Table.from_pylist([rows[row] for row in kept], schema=table.schema)
        pq.write_table(some, tmp_path / name / "test.parquet")
    runs = [str(write_run(tmp_path / name)) for name in ("a", "b")]
    damaged = ["--real", str(tmp_path / "damaged"), "--batch-size", "8"]
    message = (
        r"damaged: 2 of 30 images cannot be read:\n  row 3 \(fox/3.png\): the image cannot be "
        r"decoded .*\n  row 20: the image is missing \(null\).*\n--skip-unreadable skips"
    )
    with pytest.raises(UserError, match=message):
        # The real images' fault: no other run is tried.
        main(["score", *runs, *damaged])
    assert not list(tmp_path.rglob("scores*"))
    out = [tmp_path / "damaged.json", tmp_path / "rest.json"]
    main(["score", runs[0], *damaged, "--skip-unreadable", "--out", str(out[0])])
    printed = capsys.readouterr().err
    assert "damaged: 2 of 30 images cannot be read and are skipped:" in printed
    assert "  row 20: the image is missing (null)" in printed
    rest = ["--real", str(tmp_path / "rest"), "--batch-size", "8", "--skip-unreadable"]
    main(["score", runs[0], *rest, "--out", str(out[1])])
    one, other = map(read_scores, out)
    assert [fault.partition(":")[0] for fault in one.real.unreadable] == [
        "row 3 (fox/3.png)",
        "row 20",
    ]
    assert (one.real.num_images, other.real.unreadable) == (28, [])
    assert (one.metrics, one.real.fingerprint) == (other.metrics, other.real.fingerprint)


def test_scores_written_before_label_maps_are_read(scored, tmp_path):
    path = scored[0] / "run" / "scores-real-test.json"
    data = json.loads(path.read_text())
    assert data["labels"].pop("map") is None and data["labels"].pop("merged") == []
    old = tmp_path / "old.json"
    old.write_text(json.dumps(data))
    assert read_scores(old) == read_scores(path)
    data["labels"]["matched"] = "map"
    old.write_text(json.dumps(data))
    with pytest.raises(UserError, match="if `matched` is 'map'; found matched 'map' and map None"):
        read_scores(old)


def _score_as_one_of_several(arguments):
    # The test's own process has counted itself as the only one.
    PartialState._reset_state()
    assert this_process().num_processes == 2
    main(arguments)


def test_two_processes_score_like_one(scored, tmp_path):
    folder, *_ = scored
    out, rows = tmp_path / "two.json", tmp_path / "two.parquet"
    arguments = ["score", str(folder / "run"), "--real", str(folder / "real"), "--batch-size", "8"]
    files = ["--out", str(out), "--predictions", str(rows)]
    debug_launcher(_score_as_one_of_several, args=([*arguments, *files],), num_processes=2)
    assert out.read_bytes() == (folder / "run" / "scores-real-test.json").read_bytes()
    assert rows.read_bytes() == (folder / "rows.parquet").read_bytes()


@pytest.mark.parametrize("launch", [["eval"], ["-m", "eval"]])
def test_starts_as_folder_and_as_package_without_torch(launch):
    code = [sys.executable, "-X", "importtime", *launch, "--help"]
    done = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "score" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "eval.cli" in imported
    assert not imported & {"torch", "datasets", "numpy", "accelerate"}


def test_a_device_that_is_not_there_is_refused(scored, tmp_path):
    real = ["--real", str(scored[0] / "real"), "--device", "xpu"]
    for command in (["score", str(scored[0] / "run")], ["clip", "--model", "none"]):
        with pytest.raises(UserError, match="device xpu was requested"):
            main([*command, *real, "--out", str(tmp_path / command[0])])


def test_folders_of_output_are_made(scored, tmp_path):
    folder = scored[0]
    out = tmp_path / "new" / "scores.json"
    main(["score", str(folder / "run"), "--real", str(folder / "real"), "--out", str(out)])
    main(["table", str(out), "--out", str(tmp_path / "other" / "table.md")])
    assert "base-class" in (tmp_path / "other" / "table.md").read_text()


def test_user_error_is_one_line_and_exit_2(tmp_path):
    code = [sys.executable, "-m", "eval", "table", str(tmp_path / "none")]
    done = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "file not found" in done.stderr


def _break(run, how):
    if how == "config":
        (run / "config.json").unlink()
    elif how == "json":
        (run / "config.json").write_text("{")
    elif how == "weights":
        (run / "model.safetensors").unlink()
    elif how == "damaged":
        (run / "model.safetensors").write_bytes(b"\x40" + b"\0" * 20)
    elif how == "nan":
        weights = load_file(run / "model.safetensors")
        damaged = {name: one.float() * torch.nan for name, one in weights.items()}
        save_file(damaged, run / "model.safetensors")
    else:
        config = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps(config | how))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("config", "contains no config.json; is it a run folder"),
        ("json", r"config.json: is not valid JSON"),
        ("weights", "contains no model.safetensors; is the run finished"),
        ("damaged", "model.safetensors is damaged"),
        ("nan", r"the model's outputs are not finite \(NaN or infinity\)"),
        ({"architecture": "resnet9000"}, r"timm has no architecture 'resnet9000'"),
        ({"num_classes": 3}, r"do not fit together \(Error\(s\) in loading state_dict"),
        ({"label_names": None}, "config.json has no label_names"),
        ({"label_names": ["ant"]}, "config.json has 1 label_names but the model has 7 outputs"),
        (
            {"label_names": [*NAMES[:-1], "newt"]},
            "has no class for 'F/A-18' of .*; only the model has 'newt'",
        ),
    ],
)
def test_bad_run_is_named(scored, tmp_path, how, message):
    run = write_run(tmp_path / "run")
    _break(run, how)
    with pytest.raises(UserError, match=message):
        main(["score", str(run), "--real", str(scored[0] / "real")])
    assert not list(run.glob("*scores*"))


def test_a_missing_run_and_a_bad_dataset_are_named(scored, tmp_path):
    folder, *_ = scored
    real = ["--real", str(folder / "real")]
    with pytest.raises(UserError, match="no such run folder; for a Hub model write ORG/NAME"):
        main(["score", str(tmp_path / "none"), *real])
    with pytest.raises(UserError, match="no split 'valid"):
        main(["score", str(folder / "run"), *real, "--split", "valid"])
    with pytest.raises(UserError, match="--out names one file, but there are 2 runs"):
        main(["score", "a", "b", *real, "--out", str(tmp_path / "scores.json")])
    unlabelled = tmp_path / "unlabelled"
    unlabelled.mkdir()
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    )
    rows = {"image": [Image.new("RGB", (4, 4))] * 2, "label": [0, -1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(unlabelled / "test.parquet")
    with pytest.raises(UserError, match="split test: 1 of 2 images have no label"):
        main(["score", str(folder / "run"), "--real", str(unlabelled)])


def test_counts_and_files_that_are_not_read_are_in_the_scores(tmp_path, capsys):
    run, real = write_run(tmp_path / "run"), tmp_path / "photos"
    # A folder's name has no slash.
    folders = [name.replace("/", "-") for name in NAMES]
    for place, name in enumerate(folders):
        (real / name).mkdir(parents=True)
        for number in range(place + 1):
            Image.new("RGB", (8, 8), (place * 30, 0, 0)).save(real / name / f"{number}.JPG")
    (real / "notes.txt").touch()
    (real / "ant" / "x.avif").touch()
    with pytest.raises(UserError, match=r"1 of 29 images is in an unsupported format"):
        main(["score", str(run), "--real", str(real)])
    main(["score", str(run), "--real", str(real), "--skip-unreadable"])
    printed = capsys.readouterr().err
    counts = {name: folders.index(name) + 1 for name in sorted(folders)}
    line = ", ".join(f"{name} {count}" for name, count in counts.items())
    assert f"28 images, 7 classes: {line}; not read: 1 .avif, 1 .txt" in printed
    assert "warning: 7 of 7 classes with fewer than 10 images: " in printed
    interval = r"warning: with 28 images of 7 classes, the 95 % interval of top-1 is \d+ to \d+ %;"
    assert len(re.findall(interval, printed)) == 1
    found = read_scores(run / "scores-photos.json").real
    assert (found.class_counts, found.left_out) == (counts, {".avif": 1, ".txt": 1})
    assert (found.name, found.split) == ("photos", None)


def test_an_unfinished_run_is_marked(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    (run / "config.yaml").write_text("hyperparameters: {epochs: 500, val_fraction: 0.1}\n")
    (run / "metrics.csv").write_text("epoch,seconds\n" + "".join(f"{n},1\n" for n in range(27)))
    real, *_ = write_real(tmp_path / "real")
    main(["score", str(run), "--real", str(real)])
    seen = capsys.readouterr()
    assert "unfinished: 27 of 500 epochs" in seen.out
    assert "is unfinished: 27 of 500 epochs; finish it" in seen.err
    model = read_scores(run / "scores-real-test.json").model
    assert (model.epochs_done, model.epochs_planned) == (27, 500)
    main(["table", str(run)])
    assert "| run [unfinished: 27 of 500 epochs]" in capsys.readouterr().out
    (run / "config.yaml").write_text("hyperparameters: {epochs: 27}\n")
    main(["score", str(run), "--real", str(real)])
    seen = capsys.readouterr()
    assert "unfinished:" not in seen.out + seen.err


def test_scores_of_other_images_of_the_same_name_are_kept(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    for place, names in (("a", NAMES), ("b", NAMES[::-1])):
        (tmp_path / place).mkdir()
        write_real(tmp_path / place / "real", names=names)
    for place in ("a", "b", "a", "b"):
        main(["score", str(run), "--real", str(tmp_path / place / "real")])
    assert "has scores of other images with the same name" in capsys.readouterr().err
    found = [read_scores(path) for path in sorted(run.glob("scores-*.json"))]
    assert [one.real.reference for one in found] == [
        str(tmp_path / "b" / "real"),
        str(tmp_path / "a" / "real"),
    ]
    second, first = (one.real for one in found)
    assert (first.name, second.name) == ("real-test", f"real-test-{second.fingerprint[:8]}")
    main(["table", str(run)])
    assert second.name in capsys.readouterr().out
    real = ["--real", str(tmp_path / "b" / "real")]
    main(["score", str(run), *real, "--real-name", "mine"])
    assert read_scores(run / "scores-mine.json").real.name == "mine"
    main(["score", str(run), *real, "--out", str(run / "scores-real-test.json")])
    assert read_scores(run / "scores-real-test.json") == found[1]
    with pytest.raises(UserError, match="--real-name a/b: use letters"):
        main(["score", str(run), *real, "--real-name", "a/b"])


def test_a_broken_run_among_several_is_named_and_the_others_are_scored(scored, tmp_path, capsys):
    real = ["--real", str(scored[0] / "real")]
    runs = [tmp_path / name for name in ("a", "unfinished", "foreign", "d")]
    write_run(runs[0]), write_run(runs[3])
    runs[1].mkdir()
    write_run(runs[2], label_names=[*NAMES[:-1], "newt"])
    with pytest.raises(Failure) as caught:
        main(["score", *map(str, runs), *real, "--json"])
    assert str(caught.value) == (
        f"2 of 4 runs were not scored (reasons above): {runs[1]}, {runs[2]}"
    )
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["failed"] == [str(runs[1]), str(runs[2])]
    for run, one in zip((runs[0], runs[3]), found["scores"], strict=True):
        path = Path(one.pop("file"))
        assert path.parent == run
        assert one == json.loads(path.read_text())
    assert f"not scored: {runs[1]}: contains no config.json" in err
    assert f"the 95 % interval of top-1 of {runs[0]} is " in err
    assert f"not scored: {runs[2]} has no class for {NAMES[-1]!r}" in err
    assert [len(list(run.glob("scores-*.json"))) for run in runs] == [1, 0, 0, 1]
    with pytest.raises(
        Failure, match=f"2 of 4 runs or files are not in the table.*: {runs[1]}, {runs[2]}$"
    ):
        main(["table", *map(str, runs)])
    out = capsys.readouterr()
    assert "| a " in out.out and "| d " in out.out
    assert f"not in the table: {runs[1]}: contains no scores-*.json" in out.err
    with pytest.raises(
        UserError, match=r"unfinished: contains no scores.*\n.*foreign: contains no scores"
    ):
        main(["table", *map(str, runs[1:3])])


def test_too_little_memory_names_the_batch_size(scored, monkeypatch):
    folder, *_ = scored

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    monkeypatch.setattr("timm.models.resnet.ResNet.forward", fail)
    message = r"^out of memory \(.* allocate 2.00 GiB\); give a --batch-size below 8$"
    with pytest.raises(Failure, match=message):
        main(["score", str(folder / "run"), "--real", str(folder / "real"), "--batch-size", "8"])


def test_a_table_is_scored_with_a_suggested_map_that_merges_labels(tmp_path, capsys):
    """From photos as people have them to a score: a CSV file, other names, a map to complete."""
    run = write_run(tmp_path / "run", names=["ant", "bee", "F/A-18"])
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    labels = ["ants", "bumble bee", "apis", "FA18/C"] * 5
    for number in range(len(labels)):
        pixels = rng.integers(256, size=(12, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"IMG_{number}.JPG")
    lines = [f"IMG_{number}.JPG,{label}" for number, label in enumerate(labels)]
    (folder / "mine.csv").write_text("\n".join(["file_name,class", *lines, "gone.png,ants"]))
    score = ["score", str(run), "--real", str(folder / "mine.csv"), "--skip-unreadable"]
    file = tmp_path / "map.yaml"
    with pytest.raises(
        UserError, match=r"(?s)Suggested lines .*\nants: ant\napis: '\?'\nbumble bee: bee$"
    ):
        main([*score, "--suggest-labels", str(file)])
    assert file.read_text().splitlines() == [
        "# Check each line and replace each ?, then pass --labels map.yaml",
        "FA18/C: F/A-18",
        "ants: ant",
        "apis: '?'",
        "bumble bee: bee",
    ]
    assert f"wrote {file}: a label map to check and complete" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"map.yaml: exists; name a new file, or pass this one"):
        main([*score, "--suggest-labels", str(file)])
    file.write_text(file.read_text().replace("'?'", "bee"))
    main([*score, "--labels", str(file), "--suggest-labels", str(tmp_path / "more.yaml")])
    seen = capsys.readouterr().err
    assert not (tmp_path / "more.yaml").exists()
    assert "mine.csv: 20 images, 4 classes: FA18/C 5, ants 5, apis 5, bumble bee 5" in seen
    assert (
        "1 of 21 images cannot be read and are skipped:" in seen and "gone.png' is missing" in seen
    )
    assert "counted as one class: apis, bumble bee" in seen
    scores = read_scores(run / "scores-mine.json")
    assert (scores.labels.names, scores.labels.merged) == (
        ["F/A-18", "ant", "bee"],
        [["apis", "bumble bee"]],
    )
    assert (scores.real.num_images, scores.real.label_column) == (20, "class")
    confusion = np.asarray(scores.metrics.confusion_matrix)
    assert confusion.sum(1).tolist() == [5, 5, 10]
    partial = tmp_path / "partial.yaml"
    partial.write_text("ants: ant\n")
    with pytest.raises(UserError, match=r"check .*more\.yaml and pass it with --labels .*more"):
        main([*score, "--labels", str(partial), "--suggest-labels", str(tmp_path / "more.yaml")])
    assert (
        "ants: ant\nFA18/C: F/A-18\napis: '?'\nbumble bee: bee"
        in (tmp_path / "more.yaml").read_text()
    )
