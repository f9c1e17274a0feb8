"""Two real processes train as one: same gradients, same scores, one run folder.

This file is also the script that the processes run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from quick_python import python
from safetensors.torch import load_file, save_file
from test_train import read_metrics

from train.checkpoint import load_checkpoint, resume_middle

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
NUM_IMAGES = 45


def make_trainer(out: Path):
    from factory.common.devices import on_cpus
    from factory.data.row_subsets import DataSource
    from train.config import RunConfig
    from train.data import LabelledPixels
    from train.loop import Trainer
    from train.model import create_classifier
    from train.presets import resolve
    from train.settings import IMAGENET_MEAN, IMAGENET_STD

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (NUM_IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(NUM_IMAGES) % 3
    # 36 training images in batches of up to 13: 12 each, and 9 held out.
    overrides = {"batch_size": 13, "val_fraction": 0.2, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    config = RunConfig(
        model="test_vit",
        preset="quick",
        data=DataSource(
            reference="x",
            image_column="image",
            label_column="label",
            label_names=("a", "b", "c"),
            num_images=NUM_IMAGES,
            pixels_sha256="",
        ),
        hyperparameters=resolve("quick", model="test_vit", overrides=overrides),
    )
    accelerator = Accelerator(cpu=on_cpus())
    torch.set_num_threads(1)
    # Weights start alike; DDP would see to it anyway.
    torch.manual_seed(0)
    model = create_classifier("test_vit", num_classes=3, side=32, pretrained=False, model_args={})
    data = LabelledPixels(pixels, labels, ("a", "b", "c"), "")
    return Trainer(model, data, config=config, accelerator=accelerator, out=out)


def gradients_and_scores(out: Path) -> dict[str, torch.Tensor]:
    from train.data import epoch_batches, part_of_rank

    trainer = make_trainer(out)
    batch = epoch_batches(trainer.rows.train, batch_size=13, seed=0, epoch=0)[0][:11]
    accelerator = trainer.accelerator
    rows = part_of_rank(batch, rank=accelerator.process_index, world_size=accelerator.num_processes)
    trainer.learner.model.train()
    sums = accelerator.reduce(
        trainer.backward(trainer.batch_of(rows), epoch=0, num_global=len(batch)), reduction="sum"
    )
    found = {
        name: parameter.grad.contiguous()
        for name, parameter in trainer.learner.bare_model.named_parameters()
        if parameter.grad is not None
    }
    found["sums"] = sums
    found["val"] = torch.tensor(trainer.score_held_out())
    return found


def run_as_one_of_several(folder: Path) -> None:
    from dataclasses import replace

    from test_train_interrupted import interrupt_at

    from factory.common.stop_signals import Stopped
    from train.run import TrainOptions, train

    found = gradients_and_scores(folder / "gradients")
    if os.environ["RANK"] == "0":
        save_file(found, folder / "two.safetensors")
    options = TrainOptions(
        dataset=str(folder / "set"),
        model="test_resnet",
        # Dropout samples from a generator of each process.
        model_args={"drop_rate": 0.2},
        out=folder / "run",
        overrides={"epochs": 2, "batch_size": 16, "warmup_epochs": 0.0},
        threads=1,
    )
    # The processes of a launch are separated at the end of a training; here another one follows.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Accelerator, "end_training", lambda _: None)
        summary = train(options)
        (folder / f"summary-{os.environ['RANK']}").write_text(str(summary.best_val_top1))
        stopped = replace(options, out=folder / "stopped")
        with pytest.MonkeyPatch.context() as signals, pytest.raises(Stopped):
            if os.environ["RANK"] == "1":
                # The second step of the second epoch; the other process gets no signal.
                interrupt_at(5, signals)
            train(stopped)
    if os.environ["RANK"] == "0":
        (folder / "middle.pt").write_bytes((stopped.out / "checkpoint.pt").read_bytes())
    train(stopped)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.test_train import make_set

    folder = tmp_path_factory.mktemp("two")
    make_set(folder / "set")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run([*launch, str(Path(__file__)), str(folder)])
    return folder


def run(command: list[str]) -> str:
    """Run Python without visible GPUs, and without asking accelerate for CPUs."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    environment.pop("ACCELERATE_USE_CPU", None)
    result = subprocess.run(
        [python(), *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def test_two_processes_give_the_gradients_of_one(two_processes: Path, tmp_path: Path) -> None:
    one, two = gradients_and_scores(tmp_path), load_file(two_processes / "two.safetensors")
    assert one.keys() == two.keys()
    assert one["head.weight"].abs().max() > 1e-3
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_two_processes_write_one_run_folder(two_processes: Path) -> None:
    run = two_processes / "run"
    assert (run / "model.safetensors").exists()
    assert len((run / "metrics.csv").read_text().splitlines()) == 3
    # Only the lock that keeps other launches out stays.
    assert [path.name for path in run.glob(".*")] == [".lock"]
    scores = {(two_processes / f"summary-{rank}").read_text() for rank in (0, 1)}
    assert len(scores) == 1


def test_two_processes_resume_within_an_epoch(two_processes: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes((two_processes / "middle.pt").read_bytes())
    found = load_checkpoint(tmp_path)
    assert found is not None and found.middle is not None and found.epochs_done == 1
    assert found.middle.sums.shape == (2, 2, 3)
    assert not torch.equal(*(one["cpu"] for one in found.middle.generators))
    ends = [load_file(two_processes / name / "model.safetensors") for name in ("run", "stopped")]
    assert all(torch.equal(one, ends[1][name]) for name, one in ends[0].items())
    losses = [
        [row["train_loss"] for row in read_metrics(two_processes / name)]
        for name in ("run", "stopped")
    ]
    assert losses[0] == losses[1]
    # One process takes the results of both.
    assert torch.equal(
        torch.stack(resume_middle(found.middle, Accelerator(cpu=True))), found.middle.sums.sum(0)
    )


def test_the_command_of_the_help_trains_as_one(two_processes: Path, tmp_path: Path) -> None:
    launcher = ["-m", "accelerate.commands.accelerate_cli", "launch", "--quiet"]
    launcher += ["--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    script = [*launcher, "-m", "train", str(two_processes / "set"), "--model", "test_resnet"]
    settings = ["--epochs", "1", "--total-batch-size", "16", "--warmup-epochs", "0"]
    said = run([*script, *settings, "--out", str(tmp_path / "run")])
    assert said.count("held-out training images") == 1, "one of the processes reports the result"
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 2


if __name__ == "__main__":
    run_as_one_of_several(Path(sys.argv[1]))
