"""Training runs with real timm models and tiny datasets."""

from __future__ import annotations

import csv
import ctypes
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as PilImage
from quick_python import python
from safetensors import safe_open
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from factory.common import program
from factory.common.allocator import keep_freed_memory
from factory.common.errors import Failure, UserError
from factory.data.open import open_dataset
from factory.data.pixels import labelled_sha256
from factory.data.row_subsets import take_per_class
from train.arguments import options_of
from train.checkpoint import load_checkpoint
from train.cli import main
from train.config import Environment
from train.data import first_cell
from train.environment import record_environment
from train.folder_lock import only_run
from train.loop import Trainer
from train.model_card import card_text
from train.opening import size_note
from train.parser import build_parser
from train.run import TrainOptions, train

ROOT = Path(__file__).resolve().parent.parent
COLOURS = np.array([[200, 60, 60], [60, 190, 60], [60, 60, 210]])


def make_set(folder: Path, *, num_images: int = 60, num_classes: int = 3, side: int = 32) -> Path:
    """Write a dataset whose classes are colours, as a Parquet directory without a card."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[object]] = {"image": [], "label": [], "guidance_scale": []}
    for index in range(num_images):
        label = index % num_classes
        noise = rng.integers(-40, 40, (side, side, 3))
        rows["image"].append(PilImage.fromarray((COLOURS[label] + noise).astype(np.uint8)))
        rows["label"].append(label)
        rows["guidance_scale"].append(1.0 + index % 5)
    features = Features(
        image=Image(),
        label=ClassLabel(names=["red", "green", "blue"]),
        guidance_scale=Value("float32"),
    )
    (folder / "data").mkdir(parents=True)
    path = folder / "data" / "train-00000-of-00001.parquet"
    Dataset.from_dict(rows, features=features).to_parquet(path)
    return folder


@pytest.fixture
def options(colours: Path, tmp_path: Path) -> TrainOptions:
    return TrainOptions(
        dataset=str(colours),
        model="test_resnet",
        out=tmp_path / "run",
        overrides={"epochs": 3, "batch_size": 16, "warmup_epochs": 0.0},
        threads=1,
    )


def read_metrics(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def same_weights(one: Path, other: Path) -> bool:
    left, right = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_learns_and_timm_loads_the_folder(options: TrainOptions, colours: Path) -> None:
    import timm

    # Paths may be texts, and datasets paths.
    options = replace(options, out=str(options.out), dataset=Path(options.dataset))
    options = replace(options, overrides={**options.overrides, "epochs": 8})
    summary = train(options)
    assert summary.best_val_top1 == 1.0
    model = timm.create_model(f"local-dir:{options.out}", pretrained=True).eval()
    config = model.pretrained_cfg
    assert config["label_names"] == ["red", "green", "blue"]
    assert (config["input_size"], config["crop_pct"]) == ((3, 32, 32), 1.0)
    assert "license" not in config or not config["license"]
    pixels = torch.tensor(COLOURS, dtype=torch.float32).view(3, 3, 1, 1).expand(3, 3, 32, 32) / 255
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        assert model((pixels - mean) / std).argmax(dim=1).tolist() == [0, 1, 2]


def test_more_epochs_continue_a_constant_schedule_and_name_the_way_out_of_another(
    options: TrainOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    constant = {**options.overrides, "schedule": "constant"}
    whole = replace(options, out=tmp_path / "whole", overrides=constant)
    train(whole)
    short = replace(options, overrides={**constant, "epochs": 2})
    train(short)
    assert not same_weights(whole.out, options.out)
    capsys.readouterr()
    assert train(replace(options, overrides=constant)).epochs == 3
    said = capsys.readouterr().err
    assert (
        "more epochs (its learning rate is constant): hyperparameters.epochs (2 there, 3 now)"
        in said
    )
    assert "--stem" not in said, "not measured to help such a small model"
    assert same_weights(whole.out, options.out)
    with pytest.raises(UserError, match=r"epochs \(3 there, 2 now\); choose another --out$"):
        train(short)
    with pytest.raises(UserError, match=r"; choose another --out$"):
        train(replace(options, overrides=constant, seed=1))
    cosine = replace(options, out=tmp_path / "cosine")
    train(cosine)
    longer = replace(cosine, overrides={**options.overrides, "epochs": 4})
    message = rf"fine-tune the weights with --model local-dir:{cosine.out} --pretrained"
    with pytest.raises(UserError, match=message):
        train(longer)
    # The way out works.
    further = replace(longer, out=tmp_path / "on", model=f"local-dir:{cosine.out}", pretrained=True)
    assert train(further).epochs == 4


def test_pretrained_weights_see_images_as_they_were_trained_on(
    options: TrainOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"image_size": 32, "resample": "bilinear", "test_crop": 0.875}
    first = replace(options, overrides={**options.overrides, "epochs": 1, **own})
    train(first)
    tuned = replace(first, model=f"local-dir:{first.out}", pretrained=True, overrides={"epochs": 1})

    def used(name: str, **changes: Any) -> tuple[Any, str]:
        capsys.readouterr()
        one = replace(tuned, out=tmp_path / name, **changes)
        train(one)
        config = yaml.safe_load((one.out / "config.yaml").read_text())
        values = [config["hyperparameters"][key] for key in own]
        return values, capsys.readouterr().err

    values, said = used("own")
    assert values == [32, "bilinear", 0.875]
    trained = "32 px, bilinear, test crop 0.875"
    assert f"{tuned.model}: input as its weights were trained: {trained}" in said
    assert "warning: the weights" not in said
    # What the user asks for is used, and the difference reported.
    values, said = used("smaller", overrides={"epochs": 1, "image_size": 24})
    assert values == [24, "bilinear", 0.875]
    assert f"weights of {tuned.model} were trained with 32 px; this run uses 24 px" in said
    values, said = used("preset", preset="quick")
    assert values == [32, "bicubic", 1.0]
    assert "were trained with bilinear, test crop 0.875; this run uses bicubic, test crop 1" in said


def test_unreadable_images_are_named_or_left_out_and_counted(
    options: TrainOptions, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (file,) = colours.rglob("*.parquet")
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[5]["image"]["bytes"] = rows[5]["image"]["bytes"][:50]
    (tmp_path / "set").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), tmp_path / "set" / file.name)
    options = replace(
        options, dataset=str(tmp_path / "set"), overrides={**options.overrides, "epochs": 1}
    )
    with pytest.raises(UserError, match=r"^row 5.*cannot be decoded.*; --skip-unreadable skips"):
        train(options)
    # A sample of the rows keeps their numbers.
    opened = open_dataset(tmp_path / "set")
    samples = ((seed, take_per_class(opened, count=10, seed=seed).row_numbers) for seed in range(9))
    seed = next(seed for seed, rows in samples if rows and 5 in rows and rows.index(5) != 5)
    with pytest.raises(UserError, match=r"^row 5.*cannot be decoded"):
        train(replace(options, images_per_class=10, seed=seed))
    train(replace(options, skip_unreadable=True))
    data = yaml.safe_load((options.out / "config.yaml").read_text())["data"]
    assert (data["num_images"], data["num_unreadable"]) == (len(rows) - 1, 1)
    assert f"1 of {len(rows)} images cannot be read and are skipped:" in capsys.readouterr().err
    # Without that row the pixels are the same, so the run resumes.
    clean = pa.Table.from_pylist(rows[:5] + rows[6:], schema=table.schema)
    pq.write_table(clean, tmp_path / "set" / file.name)
    weights = (options.out / "model.safetensors").read_bytes()
    assert train(options).epochs == 1
    assert (options.out / "model.safetensors").read_bytes() == weights


def test_local_dir_gives_the_same_logits_and_keeps_model_args(options: TrainOptions) -> None:
    import timm

    options = replace(
        options,
        model="test_vit",
        model_args={"patch_size": 8, "depth": 2, "mlp_ratio": 2},
        overrides={**options.overrides, "epochs": 1, "val_fraction": 0.0},
    )
    train(options)
    loaded = timm.create_model(f"local-dir:{options.out}", pretrained=True).eval()
    assert len(loaded.blocks) == 2
    trained = timm.create_model(
        "test_vit", img_size=32, patch_size=8, depth=2, mlp_ratio=2, num_classes=3
    ).eval()
    checkpoint = load_checkpoint(options.out)
    assert checkpoint is not None
    trained.load_state_dict(checkpoint.model)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), trained(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "arguments"), [("test_resnet", {}), ("test_vit", {"patch_size": 8, "depth": 2})]
)
def test_transformers_pipeline_gives_the_probabilities_that_eval_scores(
    model: str, arguments: dict[str, int], options: TrainOptions
) -> None:
    from transformers import pipeline

    from eval.checkpoint import load_checkpoint
    from eval.fit import make_transform

    one_epoch = {**options.overrides, "epochs": 1, "test_crop": 0.875}
    train(replace(options, model=model, model_args=arguments, overrides=one_epoch))
    noise = np.random.default_rng(1).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    image = PilImage.fromarray(noise)
    found = pipeline("image-classification", model=str(options.out), top_k=3)(image)
    scored = load_checkpoint(str(options.out))
    with torch.inference_mode():
        logits = scored.model(make_transform(scored.preprocessing).apply(image)[None])
    expected = dict(zip(scored.label_names, logits.softmax(dim=1)[0].tolist(), strict=True))
    assert {one["label"]: one["score"] for one in found} == pytest.approx(expected, abs=1e-5)


def test_run_folder_records_everything(options: TrainOptions, colours: Path) -> None:
    train(replace(options, row_filter="guidance_scale < 3"))
    config = yaml.safe_load((options.out / "config.yaml").read_text())
    assert config["data"]["reference"] == str(colours)
    assert config["data"]["row_filter"] == "guidance_scale < 3"
    assert config["data"]["num_images"] == 24
    assert config["data"]["label_names"] == ["red", "green", "blue"]
    assert config["hyperparameters"]["lr"] == 4.0e-3
    assert config["hyperparameters"]["image_size"] == 32
    assert {"torch", "timm", "accelerate", "datasets"} <= config["environments"][0][
        "versions"
    ].keys()
    rows = read_metrics(options.out)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(float(row["images_per_s"]) > 0 for row in rows)
    assert sorted(path.name for path in options.out.iterdir()) == [
        ".lock",
        "checkpoint.pt",
        "config.json",
        "config.yaml",
        "curves.png",
        "metrics.csv",
        "model.safetensors",
    ]


def test_best_epoch_is_kept_not_the_last(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.loop import Trainer
    from train.scores import Scores

    scores = iter([(0.9, 0.4), (0.5, 0.7), (0.4, 0.7), (0.3, 0.6)])
    seen: list[dict[str, torch.Tensor]] = []

    def score(trainer: Trainer) -> Scores:
        seen.append({k: v.clone() for k, v in trainer.learner.bare_model.state_dict().items()})
        return Scores(*next(scores))

    monkeypatch.setattr(Trainer, "score_held_out", score)
    summary = train(replace(options, overrides={**options.overrides, "epochs": 4}))
    assert (summary.best_epoch, summary.best_val_top1) == (3, 0.7)  # 2 and 3 tie; 3 has less loss
    kept = load_file(options.out / "model.safetensors")
    assert all(torch.equal(kept[name], seen[2][name]) for name in kept)
    assert not all(torch.equal(kept[name], seen[3][name]) for name in kept)
    with safe_open(options.out / "model.safetensors", "pt") as weights:
        assert weights.metadata()["epoch"] == "3"


def test_same_seed_same_weights_other_seed_others(options: TrainOptions, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        overrides = {**options.overrides, "epochs": 1}
        train(replace(options, out=tmp_path / name, seed=seed, overrides=overrides))
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def command(options: TrainOptions, *more: str) -> list[str]:
    return [
        *(options.dataset, "--model", options.model, "--out", str(options.out), "--threads", "1"),
        *("--total-batch-size", "16", "--warmup-epochs", "0", "--epochs"),
        *(str(options.overrides["epochs"]), *more),
    ]


@pytest.mark.slow
def test_killed_and_resumed_ends_with_the_same_weights(
    options: TrainOptions, tmp_path: Path
) -> None:
    overrides = {**options.overrides, "epochs": 6, "val_fraction": 0.0}
    options = replace(options, overrides=overrides, model_args={"drop_path_rate": 0.2})
    arguments = command(options, "--val-fraction", "0", "--model-arg", "drop_path_rate=0.2")
    process = subprocess.Popen(
        [python(), "-m", "train", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not (options.out / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    killed = load_checkpoint(options.out)
    assert killed is not None
    assert 1 <= killed.epochs_done < 6
    train(options)
    undisturbed = replace(options, out=tmp_path / "undisturbed")
    train(undisturbed)
    assert same_weights(options.out, undisturbed.out)
    rows = read_metrics(options.out), read_metrics(undisturbed.out)
    assert [row["train_loss"] for row in rows[0]] == [row["train_loss"] for row in rows[1]]


def test_training_on_a_cpu_asks_for_freed_memory(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("train.run.keep_freed_memory", lambda: asked.append(True))
    train(options)
    assert asked


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of glibc")
@pytest.mark.parametrize("is_old", [False, True])
def test_freed_memory_is_used_again(is_old: bool) -> None:
    # In a process of its own: other code in this one may hold blocks that keep memory in use.
    code = f"""
import ctypes
import numpy as np
from types import SimpleNamespace
from resource import RUSAGE_SELF, getrusage
from factory.common.allocator import keep_freed_memory
def faults():
    before = getrusage(RUSAGE_SELF).ru_minflt
    np.ones(8 << 20)
    return getrusage(RUSAGE_SELF).ru_minflt - before
if {is_old}:  # Older glibc refuses thresholds above 32 MB.
    real = ctypes.CDLL(None).mallopt
    refuse = lambda name, value: 0 if name == -3 and value > 32 << 20 else real(name, value)
    ctypes.CDLL = lambda _: SimpleNamespace(mallopt=refuse)
faults(); print(faults()); keep_freed_memory(); faults(); print(faults())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    before, after = map(int, said.split())
    assert after < before / 10


@pytest.mark.skipif(sys.platform != "linux", reason="an option of glibc")
@pytest.mark.parametrize(
    ("variables", "refused", "left"),
    [
        ({}, (), [-3, -1]),
        ({}, (-3,), [-3, -4, -1]),
        ({}, (-3, -4), [-3, -4]),
        ({"MALLOC_MMAP_MAX_": "9"}, (-3,), [-3]),
        ({"MALLOC_MMAP_THRESHOLD_": "65536"}, (), [-1]),
        ({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=0:glibc.malloc.tcache_count=1"}, (), [-3]),
    ],
)
def test_the_environment_decides_about_freed_memory(
    variables: dict[str, str],
    refused: tuple[int, ...],
    left: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[int] = []

    def mallopt(number: int, _: int) -> int:
        found.append(number)
        return int(number not in refused)

    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    for name in ("MMAP_THRESHOLD", "MMAP_MAX", "TRIM_THRESHOLD"):
        monkeypatch.delenv(f"MALLOC_{name}_", raising=False)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    keep_freed_memory()
    assert found == left


def test_finished_run_is_left_alone(options: TrainOptions) -> None:
    train(options)
    kept = [options.out / name for name in ("model.safetensors", "checkpoint.pt", "config.yaml")]
    before = [path.stat().st_mtime_ns for path in kept]
    summary = train(options)
    assert summary.epochs == 3
    assert before == [path.stat().st_mtime_ns for path in kept]


def test_another_run_in_the_folder_is_refused_by_key(options: TrainOptions) -> None:
    train(replace(options, overrides={**options.overrides, "epochs": 1}))
    other = replace(options, seed=7, overrides={**options.overrides, "epochs": 1, "lr": 0.5})
    message = r"differs in seed \(0 there, 7 now\); hyperparameters.lr \(0.004 there, 0.5 now\)"
    with pytest.raises(UserError, match=message + ".*choose another --out"):
        train(other)


def test_a_second_training_is_refused_before_it_decodes_into_the_folder(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []

    def load(*_: object, out: Path, **__: object) -> None:
        with pytest.raises(UserError, match="another training is running"), only_run(out):
            pass
        decoded.append(out)
        raise Failure("stopped here")

    monkeypatch.setattr("train.data.load_pixels", load)
    options.out.mkdir()
    with (
        only_run(options.out),
        pytest.raises(UserError, match="another training is running in this folder"),
    ):
        train(options)
    assert not decoded
    with pytest.raises(Failure, match="stopped here"):
        train(options)
    assert decoded == [options.out]
    # A training that fails gives the folder back.
    with only_run(options.out):
        pass


def test_a_changed_dataset_is_refused(options: TrainOptions, tmp_path: Path) -> None:
    folder = make_set(tmp_path / "grown", num_images=30)
    options = replace(
        options, dataset=str(folder), overrides={**options.overrides, "epochs": 1, "batch_size": 8}
    )
    train(options)
    (folder / "data" / "train-00000-of-00001.parquet").unlink()
    (folder / "data").rmdir()
    make_set(folder, num_images=36)
    with pytest.raises(UserError, match=r"data.num_images \(30 there, 36 now\)"):
        train(options)


def test_a_moved_set_resumes_and_is_recorded(options: TrainOptions, tmp_path: Path) -> None:
    options = replace(options, overrides={**options.overrides, "epochs": 1})
    train(options)
    for name in ("moved", "moved/"):
        if name == "moved":
            shutil.copytree(options.dataset, tmp_path / "moved")
        train(replace(options, dataset=f"{tmp_path}/{name}"))
        config = yaml.safe_load((options.out / "config.yaml").read_text())
        assert config["data"]["reference"] == f"{tmp_path}/{name}"
        assert len(config["environments"]) == 1


def test_other_threads_on_resuming_are_recorded_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("model: x\nversions: {torch: '1'}\n")
    now = Environment(
        from_epoch=3,
        device="cpu",
        device_name="a processor",
        precision="float32",
        threads=1,
        processes=1,
        versions={"torch": "2"},
    )
    record_environment(tmp_path, now)
    assert "versions.torch (1 there, 2 now)" in capsys.readouterr().err
    other = now.model_copy(update={"from_epoch": 5, "threads": 2})
    record_environment(tmp_path, other)
    assert "epoch 5 with other values of threads (1 there, 2 now)" in capsys.readouterr().err
    record_environment(tmp_path, other.model_copy(update={"from_epoch": 7}))
    assert capsys.readouterr().err == ""
    # Steps of the fifth epoch were made in one process.
    more = other.model_copy(update={"processes": 2})
    record_environment(tmp_path, more, within_epoch=True)
    assert "epoch 5 with other values of processes (1 there, 2 now)" in capsys.readouterr().err
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert [one["from_epoch"] for one in config["environments"]] == [1, 3, 5, 5]
    assert "versions" not in config


def test_loss_that_is_not_finite_names_epoch_step_and_rate(options: TrainOptions) -> None:
    overrides = {**options.overrides, "lr": 1e30, "clip_grad_norm": None, "schedule": "constant"}
    message = r"epoch 1, step \d+: the loss is (nan|inf) at learning rate 1e\+30"
    with pytest.raises(Failure, match=message):
        train(replace(options, overrides=overrides))


BAD = [
    ({"model": "resnet5000"}, r"--model resnet5000: timm has no such model; did you mean resnet50"),
    ({"preset": "papper"}, r"--preset papper: expected quick, .*; did you mean paper\?"),
    (
        {"overrides": {"lr": -1.0, "epochs": 0}},
        r"--epochs 0: expected 1 or more\n--lr -1: expected more than 0",
    ),
    ({"overrides": {"batch_size": 1}}, "^--total-batch-size 1: expected 2 or more"),
    (
        {"augmentation": {"rotate": 3}},
        r"--augment rotate=3: unknown augmentation; did you mean rotation\?",
    ),
    ({"augmentation": {"crop_scale": [1, 0.5]}}, r"--augment: crop_scale must be LOW,HIGH"),
    ({"row_filter": "guidance_scale > 99"}, r"guidance_scale > 99"),
    (
        {"row_filter": "label == 'red'"},
        r"two classes; found 20 images of one class \(red\)",
    ),
    ({"row_filter": "label != 'red'"}, r"1 class of 3 has no images \(red\).*--allow-empty"),
    ({"label_column": "guidance_scale"}, r"guidance_scale"),
    ({"dataset": "./nowhere"}, r"nowhere: directory not found"),
    ({"model_args": {"wings": 2}}, r"--model-arg: test_resnet does not accept it.*wings"),
    (
        {"model": "test_vit", "overrides": {"image_size": 36, "epochs": 1}},
        r"--model test_vit (does not accept|cannot be created for) 36 px images",
    ),
    ({"overrides": {"batch_size": 2, "val_fraction": 0.15}}, r"give 1 image per step"),
    ({"head_only": True}, r"--head-only .* add --pretrained"),
    ({"preset": "finetune"}, r"--preset finetune .* add --pretrained"),
    ({"model": "local-dir:x"}, r"--model local-dir:x: .* only with --pretrained"),
    ({"threads": 0}, r"--threads 0: expected 1 or more"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[next(iter(c)) for c, _ in BAD])
def test_bad_input_is_one_clear_line(
    options: TrainOptions, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(replace(options, **changes))  # type: ignore[arg-type]
    assert not (options.out / "model.safetensors").exists()


def test_a_mistyped_config_is_refused_before_anything_slow(
    options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = "---\nconfigs:\n- config_name: recommended\n  data_files: '*.parquet'\n---\n"
    (tmp_path / "README.md").write_text(card)
    monkeypatch.delattr("train.environment.join_launch")
    with pytest.raises(UserError, match=r"no config 'recomended'; did you mean recommended\?"):
        train(replace(options, dataset=str(tmp_path), config_name="recomended"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resnet18x"}, "--model resnet18x"),
        ({"overrides": {"opt": "sgdx"}}, "--opt sgdx: timm has no such optimiser"),
        ({"augmentation": {"aa": "rand-x9"}}, "--aa rand-x9"),
        ({"overrides": {"split_bn": True}}, "--split-bn needs --real-train"),
        ({"overrides": {"distill_weight": 0.9}}, "--distill-weight needs --teacher"),
        ({"teacher": "./nowhere"}, "--teacher ./nowhere: no such run folder"),
        ({"weights": Path("nowhere.safetensors")}, "--weights nowhere.safetensors"),
    ],
)
def test_options_are_checked_before_the_dataset_is_opened(
    options: TrainOptions, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(replace(options, dataset="org/not-opened", **changes))


def test_folder_of_something_else_is_refused(options: TrainOptions) -> None:
    options.out.mkdir()
    (options.out / "holiday.jpg").touch()
    with pytest.raises(UserError, match=r"is not a run folder \(it contains holiday.jpg\)"):
        train(options)


def test_command_line_trains_and_reports(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--augment", "rotation=5", "--augment", "crop_scale=0.5,1", "--no-flip")
    monkeypatch.setattr(sys, "argv", ["train", *command(options, *more)])
    assert main() == 0
    out = capsys.readouterr().out
    assert re.search(r"val top-1 [\d.]+% of 6 held-out training images \(not an accuracy on", out)
    assert f"next: {program.command(f'score {options.out} --real DATASET')}\n" in out
    values = yaml.safe_load((options.out / "config.yaml").read_text())["hyperparameters"]
    assert values["augmentation"]["rotation"] == 5
    assert values["augmentation"]["crop_scale"] == [0.5, 1.0]
    assert values["augmentation"]["horizontal_flip"] == 0
    monkeypatch.setattr(sys, "argv", ["train", *command(options, *more), "--json", "--quiet"])
    assert main() == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert (found["out"], found["published"]) == (str(options.out), None)
    assert 0 <= found["best_val_top1"] <= 1
    assert "%|" not in printed.err


def test_a_device_that_is_not_there_is_refused(options: TrainOptions) -> None:
    with pytest.raises(UserError, match="device meta was requested"):
        train(replace(options, device="meta"))
    assert not options.out.exists()


def test_models_of_the_hub_have_the_ids_of_other_commands() -> None:
    for given, name in (
        ("me/net@v1", "hf-hub:me/net@v1"),
        ("hf-hub:me/net", "hf-hub:me/net"),
        ("local-dir:runs/a", "local-dir:runs/a"),
        ("docs/a", "docs/a"),
        ("resnet18.a1_in1k", "resnet18.a1_in1k"),
    ):
        parsed = options_of(build_parser().parse_args(["set", "--model", given, "--out", "run"]))
        assert parsed is not None
        assert parsed.model == name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "x"], "missing DATASET, --out"),
        (["d", "--model", "x", "--out", "r", "--model-arg", "a"], "--model-arg a: expected KEY="),
        (["d", "--model", "x", "--out", "r", "--model-arg", "img_size=3"], "is set by"),
        (["d", "--model", "x", "--out", "r", "--augment", "flip"], "--augment flip: expected KEY="),
    ],
)
def test_bad_command_lines(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    with pytest.raises(UserError, match=message):
        main()


def test_help_starts_without_torch() -> None:
    code = (
        "import sys; sys.argv = ['train', '--list-presets']; from train.cli import main; main();"
        "assert not {'torch', 'timm', 'datasets', 'accelerate'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "paper-eurosat" in result.stdout


def test_counts_of_classes_are_reported_and_recorded(
    options: TrainOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = "label != 'red' and (label == 'blue' or guidance_scale < 2)"
    one = replace(options, overrides={**options.overrides, "epochs": 1}, row_filter=kept)
    train(replace(one, allow_empty_classes=True))
    printed = capsys.readouterr().err
    assert printed.startswith(f"training {one.model} on {one.dataset}: {one.out}\n")
    line = f"split train where {kept}: 24 images, 3 classes: red 0, green 4, blue 20"
    assert line in printed
    assert "warning: 1 of 3 classes without images: red" in printed
    assert "warning: 1 of 3 classes with fewer than 10 images: green 4" in printed
    path = options.out / "config.yaml"
    config = yaml.safe_load(path.read_text())
    assert config["data"]["class_counts"] == {"red": 0, "green": 4, "blue": 20}
    assert config["data"]["left_out"] == {}
    # A run of an older version has no counts, and resumes.
    del config["data"]["class_counts"], config["data"]["left_out"]
    path.write_text(yaml.safe_dump(config))
    train(replace(one, allow_empty_classes=True))


def test_another_size_than_that_of_the_images_is_reported(
    options: TrainOptions, tmp_path: Path
) -> None:
    opened = open_dataset(make_set(tmp_path / "large", num_images=3, side=64))
    chosen = replace(options, preset="quick")
    asked = replace(chosen, overrides={"image_size": 32})
    start = f"{tmp_path / 'large'}: images of 64 px (the first), trained at 32 px"
    first = first_cell(opened)
    said = size_note(chosen, opened, first, 32)
    assert said == f"{start} (preset quick; --image-size N changes this)"
    assert size_note(asked, opened, first, 32) == f"{start} (--image-size)"
    assert size_note(chosen, opened, first, 64) is None


def test_the_sampling_of_the_images_is_recorded(options: TrainOptions, tmp_path: Path) -> None:
    dataset = make_set(tmp_path / "set")
    sampling = {"guidance_scale": 7.5, "num_inference_steps": 40, "seed": 1}
    (dataset / "manifest.json").write_text(
        json.dumps({"configs": {"default": {"sampling": sampling}}})
    )
    overrides = {**options.overrides, "epochs": 1}
    one = replace(options, dataset=str(dataset), overrides=overrides)
    # Only a manifest shows that images are synthetic.
    assert train(one).val_kind == "synthetic"
    card = card_text(options.out, repo_id="org/name")
    assert "- synthetic-data\n" in card and "on held-out synthetic images" in card
    path = options.out / "config.yaml"
    config = yaml.safe_load(path.read_text())
    recorded = {"default": {"guidance_scale": 7.5, "num_inference_steps": 40}}
    assert config["data"]["sampling"] == recorded
    # A run of an older version has no record, and resumes.
    del config["data"]["sampling"]
    path.write_text(yaml.safe_dump(config))
    train(one)


def test_strong_imbalance_is_a_warning(tmp_path: Path) -> None:
    from factory.data.row_counts import count_warnings, counts_line

    counts = {"cat": 200, "dog": 4, "emu": 4}
    assert count_warnings(counts) == [
        "2 of 3 classes with fewer than 10 images: dog 4, emu 4",
        "cat has 200 images, dog has 4: accuracy mostly measures the large classes",
    ]
    assert count_warnings({"cat": 99, "dog": 10}) == []
    many = {f"class {number}": 5 + number for number in range(100)}
    assert counts_line("set", many, {".heic": 3}) == (
        "set: 5,450 images, 100 classes of 5 to 104 images; not read: 3 .heic"
    )


def test_odd_settings_in_a_run_folder_are_no_settings(options: TrainOptions) -> None:
    from eval.checkpoint import load_checkpoint

    one = replace(options, overrides={**options.overrides, "epochs": 1, "schedule": "constant"})
    train(one)
    path = options.out / "config.yaml"
    config = yaml.safe_load(path.read_text())
    assert load_checkpoint(str(options.out)).facts.epochs_planned == 1
    whole = config["hyperparameters"]
    for odd in ([1], "x", 5, whole | {"epochs": "x"}, whole | {"epochs": [3]}):
        path.write_text(yaml.safe_dump(config | {"hyperparameters": odd}))
        with pytest.raises(UserError, match=r"contains another run, .*choose another --out"):
            train(replace(one, overrides={**one.overrides, "epochs": 2}))
        assert load_checkpoint(str(options.out)).facts.epochs_planned is None


def test_untrusted_names_stay_on_one_line_and_are_shortened() -> None:
    from factory.data.row_counts import count_warnings, counts_line, shortened

    names = {"a\nfactory: all is well": 100, "b" * 3000: 0, "c\r" + "c" * 3000: 3}
    suffixes = {f".{number}\n": 1 for number in range(1000)}
    printed = [counts_line("set", names, suffixes), shortened([*names]), *count_warnings(names)]
    assert all(line.isprintable() and len(line) < 500 for line in printed)
    assert printed[0].startswith(
        f"set: 103 images, 3 classes: a\\x0afactory: all is well 100, {'b' * 77}... 0, c\\x0dc"
    )
    assert printed[0].endswith("1 .19\\x0a and 980 other types")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 392.00 MiB. GPU 0 has 7 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1 GB)"),
    ],
)
def test_too_little_memory_is_one_line_with_remedies(
    error: RuntimeError, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("train.losses.functional.cross_entropy", fail)
    with pytest.raises(Failure) as raised:
        train(options)
    text = str(raised.value)
    assert text.startswith("out of memory (") and "\n" not in text and "GPU 0 has" not in text
    assert "--total-batch-size 16" in text and "--accumulate 2" in text


def test_accumulated_gradients_are_those_of_the_whole_batch(options: TrainOptions) -> None:
    """With layer norm, images are independent; batch norm would see smaller batches."""
    one_step = {**options.overrides, "epochs": 1, "batch_size": 64, "val_fraction": 0.0}
    model = {"model": "test_vit", "model_args": {"patch_size": 8, "depth": 2}}
    for parts in (1, 4):
        overrides = {**one_step, "accumulate": parts}
        train(replace(options, out=options.out / str(parts), overrides=overrides, **model))
    whole, split = (load_file(options.out / n / "model.safetensors") for n in ("1", "4"))
    for name, weights in whole.items():
        torch.testing.assert_close(split[name], weights, rtol=0, atol=2e-5)
    rows = [read_metrics(options.out / name)[0] for name in ("1", "4")]
    assert rows[0]["train_loss"] == rows[1]["train_loss"]


def test_parts_of_less_than_two_images_are_refused(options: TrainOptions) -> None:
    overrides = {**options.overrides, "accumulate": 9}
    with pytest.raises(UserError, match=r"--accumulate 9: a batch of .* lower it"):
        train(replace(options, overrides=overrides))


class _NoFloat64(TorchDispatchMode):
    """Refuses float64 tensors, as Apple's MPS devices do."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return out


def test_training_and_scoring_need_no_float64_tensors(
    options: TrainOptions, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eval.cli import main as eval_main

    out = options.out
    score = ["score", str(out), "--real", str(colours), "--out", str(out / "scores.json")]
    gap = ["gap", str(colours), "--real", str(colours), "--model", str(out)]
    with _NoFloat64():
        train(replace(options, overrides={**options.overrides, "epochs": 1}))
        for command in (score, [*gap, "--out", str(out / "gap"), "--images", "60"]):
            monkeypatch.setattr(sys, "argv", ["eval", *command])
            assert not eval_main()


def test_a_run_keeps_to_the_rules_of_windows(options: TrainOptions, windows_rules: None) -> None:
    train(replace(options, overrides={**options.overrides, "epochs": 1}))
    assert (options.out / "model.safetensors").is_file()


def test_a_training_that_wakes_up_writes_into_no_other_run(
    options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its process is suspended, its folder is moved and another training done there."""
    train(replace(options, out=tmp_path / "other", seed=1))
    run_epoch = Trainer._train_epoch
    moved = tmp_path / "moved"

    def sleeps(self: Trainer, epoch: int, bar: Any) -> Any:
        if epoch == 1:
            options.out.rename(moved)
            shutil.copytree(tmp_path / "other", options.out)
        return run_epoch(self, epoch, bar)

    monkeypatch.setattr(Trainer, "_train_epoch", sleeps)
    with pytest.raises(Failure, match=f"{options.out}: was moved, removed or replaced while"):
        train(options)
    monkeypatch.undo()
    assert same_weights(options.out, tmp_path / "other")
    assert [row["epoch"] for row in read_metrics(moved)] == ["1"]
    assert train(replace(options, out=moved)).epochs == 3


def wide_photos(folder: Path) -> Path:
    """Write an image folder: two classes of 4 images of 64 x 32 pixels each, as noise."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            noise = rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)
            PilImage.fromarray(noise).save(folder / name / f"{number}.png")
    return folder


def test_fit_decides_how_non_square_images_are_treated(
    options: TrainOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from eval.checkpoint import load_checkpoint
    from eval.fit import with_fit

    photos = str(wide_photos(tmp_path / "photos"))
    values = {"epochs": 1, "batch_size": 4, "warmup_epochs": 0.0, "image_size": 32}
    hashes = {}
    for fit in (None, "crop", "pad", "squash"):
        given = values if fit is None else {**values, "fit": fit}
        out, kept = tmp_path / f"run-{fit}", fit or "crop"
        train(replace(options, dataset=photos, out=out, overrides=given))
        assert f"dog 4; images that are not square: {kept}" in capsys.readouterr().err
        config = yaml.safe_load((out / "config.yaml").read_text())
        assert config["hyperparameters"]["fit"] == kept
        hashes[fit] = config["data"]["pixels_sha256"]
        assert with_fit(load_checkpoint(str(out)).preprocessing, None).fit == kept
        assert with_fit(load_checkpoint(str(out)).preprocessing, "squash").fit == "squash"
    assert hashes[None] == hashes["crop"] and len(set(hashes.values())) == 3
    with pytest.raises(UserError, match=r"fit .squash there, pad now."):
        again = {**values, "fit": "pad"}
        train(replace(options, dataset=photos, out=tmp_path / "run-squash", overrides=again))


def test_borders_have_one_colour_in_training_and_scoring(
    options: TrainOptions, tmp_path: Path
) -> None:
    from eval.checkpoint import load_checkpoint
    from eval.fit import make_transform, with_fit

    photos = wide_photos(tmp_path / "photos")
    values = {"epochs": 1, "batch_size": 4, "warmup_epochs": 0.0, "image_size": 32, "fit": "pad"}
    mean, std = (0.75, 0.25, 0.0), (0.5, 0.5, 0.5)
    first = replace(options, dataset=str(photos), out=tmp_path / "own")
    train(replace(first, overrides={**values, "mean": mean, "std": std}))
    tuned = replace(first, out=tmp_path / "tuned", model=f"local-dir:{first.out}", pretrained=True)
    train(replace(tuned, overrides=values))
    for out in (first.out, tuned.out):
        config = yaml.safe_load((out / "config.yaml").read_text())
        assert config["hyperparameters"]["mean"] == list(mean)
        scored = make_transform(with_fit(load_checkpoint(str(out)).preprocessing, None)).apply
        files = [photos / name / f"{number}.png" for name in ("cat", "dog") for number in range(4)]
        seen = torch.stack([scored(PilImage.open(file)) for file in files])
        pixels = ((seen.permute(0, 2, 3, 1) * 0.5 + torch.tensor(mean)) * 255).round()
        assert (pixels[:, :6] == torch.tensor([191.0, 64.0, 0.0])).all()
        found = labelled_sha256(np.repeat([0, 1], 4), [pixels.to(torch.uint8).numpy()])
        assert config["data"]["pixels_sha256"] == found


def test_a_run_from_before_fit_squashed(options: TrainOptions, tmp_path: Path) -> None:
    photos = str(wide_photos(tmp_path / "photos"))
    values = {"epochs": 2, "batch_size": 4, "warmup_epochs": 0.0, "image_size": 32}
    squashed = replace(options, dataset=photos, overrides={**values, "fit": "squash"})
    train(squashed)
    path = options.out / "config.yaml"
    config = yaml.safe_load(path.read_text())
    del config["hyperparameters"]["fit"]
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"pixels_sha256 .*it squashed images .* add --fit squash"):
        train(replace(squashed, overrides=values))
    train(squashed)


def test_square_images_are_the_same_however_they_are_fitted(
    options: TrainOptions, tmp_path: Path
) -> None:
    hashes = set()
    for fit in ("crop", "pad", "squash"):
        given = {**options.overrides, "epochs": 1, "image_size": 24, "fit": fit}
        train(replace(options, out=tmp_path / fit, overrides=given))
        config = yaml.safe_load((tmp_path / fit / "config.yaml").read_text())
        hashes.add(config["data"]["pixels_sha256"])
    assert len(hashes) == 1
