"""A training that is stopped within an epoch, fails, or is watched."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from PIL import Image
from quick_plots import draw_curves
from safetensors.torch import load_file
from test_train import read_metrics

from factory.common.entry import run_main
from factory.common.errors import Failure, UserError
from factory.common.program import command
from factory.common.stop_signals import Stopped
from train.checkpoint import load_checkpoint
from train.cli import main
from train.learner import Learner
from train.run import TrainOptions, train


def options_of(colours: Path, out: Path) -> TrainOptions:
    # Dropout samples from a generator whose state must be kept; the average has a state too.
    return TrainOptions(
        dataset=str(colours),
        images_per_class=16,
        model="test_vit",
        model_args={"patch_size": 8, "depth": 1, "drop_path_rate": 0.2, "proj_drop_rate": 0.1},
        out=out,
        overrides={"epochs": 2, "batch_size": 8, "warmup_epochs": 0.0, "model_ema": True},
        threads=1,
    )


@pytest.fixture
def options(colours: Path, tmp_path: Path) -> TrainOptions:
    return options_of(colours, tmp_path / "run")


@pytest.fixture(scope="module")
def undisturbed(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with these options that was never stopped."""
    return train(options_of(colours, tmp_path_factory.mktemp("runs") / "undisturbed")).out


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch, *, times: int = 1) -> None:
    """Send Ctrl-C to this process before some step."""
    update = Learner.update

    def updated(self: Learner, number: int) -> None:
        if number == step:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        update(self, number)

    monkeypatch.setattr(Learner, "update", updated)


@pytest.mark.parametrize("step", [2, 8])
def test_ctrl_c_keeps_the_steps_of_an_epoch(
    step: int, options: TrainOptions, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(step, monkeypatch)
    with pytest.raises(Stopped, match="SIGINT"):
        train(options)
    monkeypatch.undo()
    stopped = load_checkpoint(options.out)
    assert stopped is not None and stopped.middle is not None
    assert (stopped.epochs_done, stopped.middle.sums.shape[1]) == (step // 6, step % 6 + 1)
    train(options)
    files = [load_file(one / "model.safetensors") for one in (options.out, undisturbed)]
    assert all(torch.equal(one, files[1][name]) for name, one in files[0].items())
    rows = [read_metrics(one) for one in (options.out, undisturbed)]
    assert [row["train_loss"] for row in rows[0]] == [row["train_loss"] for row in rows[1]]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_at_the_last_step_keeps_the_epoch(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(5, monkeypatch)
    with pytest.raises(Stopped):
        train(options)
    stopped = load_checkpoint(options.out)
    assert stopped is not None and stopped.middle is None and stopped.epochs_done == 1


def test_a_second_ctrl_c_stops_at_once(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(2, monkeypatch, times=2)
    with pytest.raises(Stopped):
        train(options)
    assert load_checkpoint(options.out) is None


def test_checkpoints_within_an_epoch_are_written_at_the_interval(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = Learner.update

    def fails(self: Learner, number: int) -> None:
        if number == 5:
            raise OSError("the power is gone")
        update(self, number)

    monkeypatch.setattr(Learner, "update", fails)
    with pytest.raises(OSError, match="power"):
        train(replace(options, recovery_interval=2))
    monkeypatch.undo()
    found = load_checkpoint(options.out)
    assert found is not None and found.middle is not None and found.middle.sums.shape == (1, 4, 3)
    # Another interval is the same run.
    assert train(replace(options, recovery_interval=3)).epochs == 2


def test_the_line_that_resumes_is_printed(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [options.dataset, "--model", "test_resnet", "--out", str(options.out), "--epochs", "3"]
    monkeypatch.setattr(sys, "argv", ["train", *words])
    interrupt_at(1, monkeypatch)
    with pytest.raises(SystemExit, match="130"):
        run_main(main)
    line = f"train {options.dataset} --model test_resnet --out {options.out} --epochs 3"
    last = f"stopped by Ctrl-C (SIGINT); resume with: {command(line)}\n"
    assert capsys.readouterr().err.endswith(last)
    # Only the first process of a launch prints it.
    monkeypatch.setattr("train.cli.launched_as", lambda: (1, 2))
    monkeypatch.setattr("train.cli.train", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(SystemExit, match="130"):
        run_main(main)
    assert capsys.readouterr().err.endswith("stopped by Ctrl-C (SIGINT)\n")


def test_a_loss_that_is_not_finite_keeps_the_last_good_epoch(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = Learner.update

    def breaks(self: Learner, number: int) -> None:
        update(self, number)
        if number == 7:
            with torch.no_grad():
                next(self.bare_model.parameters()).fill_(float("nan"))

    monkeypatch.setattr(Learner, "update", breaks)
    for interval, fault in ((5, "step 3: the loss is nan"), (1, "step 2: the weights are not fin")):
        out = options.out / str(interval)
        message = rf"epoch 2, {fault}.*{out} keeps the weights after epoch 1;"
        with pytest.raises(Failure, match=message):
            train(replace(options, out=out, recovery_interval=interval))
        kept = load_checkpoint(out)
        assert kept is not None
        saved = [*kept.model.values(), *load_file(out / "model.safetensors").values()]
        assert all(torch.isfinite(one).all() for one in saved)


@pytest.mark.parametrize("held_out", [True, False])
@pytest.mark.parametrize("epochs", [1, 3])
def test_curves_of_any_run_are_plotted(tmp_path: Path, held_out: bool, epochs: int) -> None:
    val = {"val_loss": 1.2, "val_top1": 0.5} if held_out else {"val_loss": None, "val_top1": None}
    rows = [
        {"epoch": epoch, "train_loss": 1.0 / epoch, "train_top1": 0.4, "lr": 0.1, **val}
        for epoch in range(1, epochs + 1)
    ]
    draw_curves(tmp_path, rows, best_epoch=1)
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size == (1200, 360)


def test_curves_are_drawn_at_the_end(undisturbed: Path) -> None:
    with Image.open(undisturbed / "curves.png") as image:
        assert image.format == "PNG" and image.width > 2 * image.height
        assert len(image.convert("RGB").getcolors(1 << 20) or ()) > 10


def test_the_bar_shows_loss_rate_and_best_epoch(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    class Bar:
        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None: ...
        def update(self, number: int) -> None: ...
        def set_postfix_str(self, text: str, **_: Any) -> None:
            shown.append(text)

    monkeypatch.setattr("train.loop.progress", lambda *_, **__: Bar())
    summary = train(options)
    assert shown[0].startswith("epoch 1, loss ") and ", lr 0.004" in shown[0]
    assert "best" not in shown[0]
    first = float(read_metrics(options.out)[0]["val_top1"])
    assert shown[-1].endswith(f"best val top-1 {first:.1%} (epoch 1)")
    assert summary.epochs == 2


def test_trackers_get_the_metrics(options: TrainOptions) -> None:
    from accelerate.tracking import GeneralTracker, on_main_process

    seen: dict[str, Any] = {"rows": []}

    class Tracker(GeneralTracker):  # type: ignore[misc]
        name, requires_logging_directory = "mine", False
        tracker = None

        @on_main_process
        def store_init_configuration(self, values: dict[str, Any]) -> None:
            seen["config"] = values

        @on_main_process
        def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
            seen["rows"].append((step, values))

    class LoggedOut(Tracker):
        @on_main_process
        def store_init_configuration(self, values: dict[str, Any]) -> None:
            raise ConnectionError("no API key\nconfigure one")

    with pytest.raises(UserError, match=r"--log-with mine: cannot be started .*no API key\)"):
        train(replace(options, log_with=(LoggedOut(),)))
    # The folder is that of the same run, without this tracker.
    train(replace(options, log_with=(Tracker(),)))
    assert seen["config"]["hyperparameters.model_ema"] is True
    # TensorBoard accepts no other types, and no missing values.
    assert {type(value) for value in seen["config"].values()} <= {bool, int, float, str}
    assert {type(one) for _, row in seen["rows"] for one in row.values()} <= {int, float}
    assert [step for step, _ in seen["rows"]] == [1, 2]
    assert seen["rows"][1][1]["val_top1"] == pytest.approx(
        float(read_metrics(options.out)[1]["val_top1"]), abs=1e-5
    )
    with pytest.raises(UserError, match=r"--log-with tensorbord: unknown tracker; did you mean"):
        train(replace(options, log_with=("tensorbord",)))
