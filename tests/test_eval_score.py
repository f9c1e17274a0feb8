"""Scoring a saved model on a tiny real set."""

import json
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from accelerate import PartialState, debug_launcher
from PIL import Image
from safetensors.torch import save_file

from eval.cli import main
from eval.predict import this_process
from eval.scores import read_scores
from factory.errors import Failure, UserError

ROOT = Path(__file__).parent.parent
NAMES = ["ant", "bee", "cat", "dog", "emu", "fox", "F/A-18"]
NUM_IMAGES = 30


def write_run(folder, names=NAMES, order=None, **changes):
    """Save a model whose outputs are in `order` of a fixed model's."""
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
    """Scale the last layer so that noise is given many classes; fresh weights give it one."""
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
    """One run scored on the command line, in batches that don't divide the set."""
    folder = tmp_path_factory.mktemp("scored")
    run = write_run(folder / "run")
    (run / "config.yaml").write_text(
        "seed: 3\ndata: {config_name: base-class}\nhyperparameters: {val_fraction: 0.1}\n"
    )
    real, pixels, labels = write_real(folder / "real")
    arguments = ["--real", str(real), "--batch-size", "8", "--plot"]
    main(["score", str(run), *arguments, "--predictions", str(folder / "rows.parquet")])
    return folder, pixels, labels


def test_numbers_are_those_by_hand(scored):
    folder, pixels, labels = scored
    model = timm.create_model(f"local-dir:{folder / 'run'}", pretrained=True).eval()
    resized = [Image.fromarray(one).resize((32, 32), Image.Resampling.BILINEAR) for one in pixels]
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


def test_scores_say_what_was_measured(scored):
    folder, *_ = scored
    scores = read_scores(folder / "run" / "scores-real-test.json")
    assert scores.real.num_images == NUM_IMAGES
    assert (scores.real.name, scores.real.split) == ("real-test", "test")
    assert scores.training["data"] == {"config_name": "base-class"}
    assert scores.model.selected_on == "held-out synthetic"
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
    told = capsys.readouterr().err
    assert "labels of real-test translated by the label map" in told
    assert "counted as one class: kitten, cat" in told
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


def test_scores_written_before_label_maps_are_read(scored, tmp_path):
    path = scored[0] / "run" / "scores-real-test.json"
    data = json.loads(path.read_text())
    assert data["labels"].pop("map") is None and data["labels"].pop("merged") == []
    old = tmp_path / "old.json"
    old.write_text(json.dumps(data))
    assert read_scores(old) == read_scores(path)
    data["labels"]["matched"] = "map"
    old.write_text(json.dumps(data))
    with pytest.raises(UserError, match="labels: Value error, matched is 'map', map is None"):
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


def test_user_error_is_one_line_and_exit_2(tmp_path):
    code = [sys.executable, "-m", "eval", "table", str(tmp_path / "none")]
    done = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "no such file" in done.stderr


def _break(run, how):
    if how == "config":
        (run / "config.json").unlink()
    elif how == "json":
        (run / "config.json").write_text("{")
    elif how == "weights":
        (run / "model.safetensors").unlink()
    elif how == "damaged":
        (run / "model.safetensors").write_bytes(b"\x40" + b"\0" * 20)
    else:
        config = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps(config | how))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("config", "no config.json in it; is it a run folder"),
        ("json", r"config.json: not JSON"),
        ("weights", "no model.safetensors in it; is the run finished"),
        ("damaged", "model.safetensors is damaged"),
        ({"architecture": "resnet9000"}, r"don't make a model \(Unknown model \(resnet9000\)\)"),
        ({"num_classes": 3}, r"don't make a model \(Error\(s\) in loading state_dict"),
        ({"label_names": None}, "config.json has no label_names"),
        ({"label_names": ["ant"]}, "config.json names 1 labels for 7 outputs"),
        (
            {"label_names": [*NAMES[:-1], "newt"]},
            "doesn't know 'F/A-18' of .*; only the model has 'newt'",
        ),
    ],
)
def test_bad_run_is_named(scored, tmp_path, how, message):
    run = write_run(tmp_path / "run")
    _break(run, how)
    with pytest.raises(UserError, match=message):
        main(["score", str(run), "--real", str(scored[0] / "real")])
    assert not list(run.glob("*scores*"))


def test_missing_run_and_bad_set_are_named(scored, tmp_path):
    folder, *_ = scored
    real = ["--real", str(folder / "real")]
    with pytest.raises(UserError, match="no such run folder; for a model of the Hub write hf-hub:"):
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
    with pytest.raises(UserError, match="1 of 2 images of split 'test' have no label"):
        main(["score", str(folder / "run"), "--real", str(unlabelled)])


def test_too_little_memory_names_the_batch_size(scored, monkeypatch):
    folder, *_ = scored

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    monkeypatch.setattr("timm.models.resnet.ResNet.forward", fail)
    message = r"^out of memory \(.* allocate 2.00 GiB\); give a --batch-size below 8$"
    with pytest.raises(Failure, match=message):
        main(["score", str(folder / "run"), "--real", str(folder / "real"), "--batch-size", "8"])
