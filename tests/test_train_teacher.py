"""Distillation: a trained model as a teacher."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from test_train import read_metrics
from torch.nn import functional

from factory.common.errors import UserError
from train.run import TrainOptions, train
from train.teacher import Teacher, distillation, load_teacher

NAMES = ("red", "green", "blue")


@pytest.fixture(scope="module")
def teacher(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run whose classes have another order, and another image size."""
    out = tmp_path_factory.mktemp("runs") / "teacher"
    train(options_of(colours, out, image_size=40, epochs=4))
    config = json.loads((out / "config.json").read_text())
    config["label_names"] = ["Red", "green", "blue"]
    (out / "config.json").write_text(json.dumps(config))
    return out


def options_of(colours: Path, out: Path, **given: float) -> TrainOptions:
    values = {"epochs": 2, "batch_size": 16, "warmup_epochs": 0.0, "image_size": 32}
    return TrainOptions(
        dataset=str(colours),
        images_per_class=16,
        model="test_resnet",
        out=out,
        overrides=values | given,
        threads=1,
    )


def test_distillation_is_the_divergence() -> None:
    generator = torch.Generator().manual_seed(0)
    student, target = torch.randn(2, 5, 3, generator=generator)
    assert distillation(student, student, temperature=2).abs() < 1e-6
    found = distillation(student, target, temperature=1)
    soft = target.softmax(dim=1)
    cross = functional.cross_entropy(student, soft, reduction="sum")
    expected = cross + (soft * target.log_softmax(dim=1)).sum()
    torch.testing.assert_close(found, expected)


def test_a_teacher_sees_its_own_normalisation_and_size() -> None:
    seen: list[torch.Tensor] = []

    class Model(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return images.mean(dim=(2, 3))

    teacher = Teacher(Model(), (2, 0), side=8, mean=(0.5,) * 3, std=(0.25,) * 3, sha256="")
    pixels = torch.full((1, 3, 4, 4), 0.75)
    logits = teacher.logits((pixels - 0.1) / 0.2, mean=(0.1,) * 3, std=(0.2,) * 3)
    torch.testing.assert_close(seen[0], torch.full((1, 3, 8, 8), 1.0))
    torch.testing.assert_close(logits, torch.ones(1, 2))


def test_a_student_learns_from_a_run(colours: Path, teacher: Path, tmp_path: Path) -> None:
    loaded = load_teacher(str(teacher), ("green", "blue", "red"))
    assert (loaded.outputs, loaded.side) == ((1, 2, 0), 40)
    one = options_of(colours, tmp_path / "plain")
    half = replace(one, out=tmp_path / "half", teacher=str(teacher))
    alone = replace(half, out=tmp_path / "alone")
    alone = replace(alone, overrides={**alone.overrides, "distill_weight": 1.0, "epochs": 6})
    for options in (one, half, alone):
        train(options)
    losses = [float(read_metrics(each.out)[0]["train_loss"]) for each in (one, half)]
    assert losses[0] != losses[1]
    # Without any label, the student has learnt the classes.
    assert float(read_metrics(alone.out)[-1]["val_top1"]) > 0.9
    config = yaml.safe_load((half.out / "config.yaml").read_text())
    assert (config["teacher"], config["teacher_sha256"]) == (str(teacher), loaded.sha256)
    assert config["hyperparameters"]["distill_weight"] == 0.5
    # A moved teacher is the same one; a run without it is another run.
    weights = load_file(half.out / "model.safetensors")
    moved = teacher.rename(teacher.with_name("moved"))
    assert train(replace(half, teacher=str(moved))).epochs == 2
    moved.rename(teacher)
    assert all(
        torch.equal(each, weights[name])
        for name, each in load_file(half.out / "model.safetensors").items()
    )
    with pytest.raises(UserError, match=r"differs in teacher_sha256"):
        train(replace(half, teacher=None))


def test_names_by_output_may_have_any_order(teacher: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(teacher, tmp_path / "teacher")
    config = json.loads((copy / "config.json").read_text())
    config["label_names"] = {"2": "blue", "0": "red", "1": "green"}
    (copy / "config.json").write_text(json.dumps(config))
    assert load_teacher(str(copy), ("green", "blue", "red")).outputs == (1, 2, 0)
    config["label_names"]["x"] = config["label_names"].pop("1")
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"--teacher .*names other outputs than 0 to 2"):
        load_teacher(str(copy), ("blue", "red"))
    del config["label_names"]["x"]
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"--teacher .*has 2 label_names but the model has 3"):
        load_teacher(str(copy), ("blue", "red"))


def test_a_teacher_that_diverged_is_refused(teacher: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(teacher, tmp_path / "teacher")
    weights = load_file(copy / "model.safetensors")
    weights["fc.bias"][0] = float("nan")
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(UserError, match=r"--teacher .*has weights that are NaN or infinite"):
        load_teacher(str(copy), ("green", "blue", "red"))


def test_teachers_that_cannot_teach_are_refused(
    colours: Path, teacher: Path, tmp_path: Path
) -> None:
    options = options_of(colours, tmp_path / "run")
    with pytest.raises(
        UserError, match=r"--teacher .*: has no classes purple \(Red, green, blue\)"
    ):
        load_teacher(str(teacher), ("red", "purple"))
    with pytest.raises(UserError, match=r"--teacher nowhere: no such run folder"):
        train(replace(options, teacher="nowhere"))
    with pytest.raises(UserError, match=r"--distill-weight needs --teacher"):
        train(options_of(colours, tmp_path / "run", distill_weight=0.3))
