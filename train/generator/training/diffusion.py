"""The training loop of the denoiser: one process or several, resumable after a kill.

All random values of a step are functions of (seed, rank, step), so a resumed run continues with the
samples after the checkpoint. Checkpoints are written atomically.
"""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from factory.common.whole_files import replace_file
from train.generator.config import Config
from train.generator.network.denoiser import Denoiser, noise_schedule
from train.generator.network.text import TokenCache
from train.generator.training.batches import Batch, TrainingSet, denoising_loss, sample_batch
from train.generator.training.class_gap import GAP_TIMES, class_gap
from train.generator.training.loss_log import LOG_FILE, LossLog
from train.generator.training.run_config import BEST_FILE, CHECKPOINT_FILE, UNRECORDED

log = logging.getLogger(__name__)

SYNC_EVERY = 20


def lr_factor(progress: float, step: int, warmup_steps: int) -> float:
    """Return the learning rate's factor: linear warm-up, then a cosine down to 1 %."""
    warm = min(1.0, (step + 1) / max(1, warmup_steps))
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class Trainer:
    """One process of a run: model, optimizer, averaged weights and progress."""

    def __init__(
        self, config: Config, *, folder: Path, accelerator: Any, denoiser: Denoiser
    ) -> None:
        self.config = config
        self.folder = folder
        self.accelerator = accelerator
        self.schedule = noise_schedule()
        fit = config.fit
        self.base_lrs = (fit.unet_lr, fit.text_lr)
        optimizer = torch.optim.AdamW(
            [
                {"params": list(denoiser.unet.parameters()), "lr": fit.unet_lr},
                {"params": list(denoiser.text_encoder.parameters()), "lr": fit.text_lr},
            ],
            betas=(0.9, 0.99),
            weight_decay=fit.weight_decay,
            fused=True,
        )
        self.model, self.optimizer = accelerator.prepare(denoiser, optimizer)
        self.forget_average()
        self.step = 0
        # Over all processes; a resumed run may use another batch size or number of processes.
        self.samples = 0
        self.seconds = 0.0
        self.progress = 0.0
        self.best_probe = 0.0
        self.computed_on: list[str] = []

    def forget_average(self) -> None:
        """Reset the averaged weights to the current weights."""
        self.average = {k: v.detach().clone() for k, v in self.plain().state_dict().items()}

    @property
    def checkpoint(self) -> Path:
        """Path of the state."""
        return self.folder / CHECKPOINT_FILE

    def plain(self) -> Denoiser:
        """Return the model without its distributed wrapper."""
        unwrapped: Denoiser = self.accelerator.unwrap_model(self.model)
        return unwrapped

    def averaged(self) -> Denoiser:
        """Return a copy of the model with the averaged weights."""
        import copy

        model = copy.deepcopy(self.plain())
        model.load_state_dict(self.average)
        return model.eval()

    def autocast(self) -> Any:
        """Return the autocast context of training."""
        return self.accelerator.autocast()

    def resume(self) -> bool:
        """Load the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        self.plain().load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        device = self.accelerator.device
        self.average = {k: v.to(device) for k, v in state["average"].items()}
        self.step = int(state["step"])
        self.samples = int(state["samples"])
        self.seconds = float(state["seconds"])
        self.best_probe = float(state.get("best_probe", 0.0))
        self.computed_on = list(state.get("computed_on", [UNRECORDED]))
        log.info("resumed at %d samples", self.samples)
        return True

    def save(self, *, best: bool = False) -> None:
        """Save the state, or a copy for the best probe, atomically."""
        state = {
            "model": self.plain().state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "samples": self.samples,
            "seconds": self.seconds,
            "best_probe": self.best_probe,
            "computed_on": self.computed_on,
        }
        path = self.folder / BEST_FILE if best else self.checkpoint
        replace_file(path, lambda temporary: torch.save(state, temporary))

    def update_progress(self) -> None:
        """Synchronise the progress of the run, 0 to 1, over all processes.

        Times differ between processes but learning rates must not, so the first process decides.
        """
        fit = self.config.fit
        done = self.samples / fit.samples
        if fit.max_minutes is not None:
            done = max(done, self.seconds / (60 * fit.max_minutes))
        shared = torch.tensor([done], dtype=torch.float32, device=self.accelerator.device)
        if self.accelerator.num_processes > 1:
            torch.distributed.broadcast(shared, src=0)
        self.progress = float(shared)

    def record_machine(self) -> None:
        """Record the device of the run, in addition to earlier ones."""
        name = device_name(self.accelerator)
        if name not in self.computed_on:
            self.computed_on.append(name)

    def train_step(self, batch: Batch) -> float:
        """Take one step and return the loss; `progress` sets the learning rate."""
        fit = self.config.fit
        factor = lr_factor(self.progress, self.step, fit.warmup_steps)
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * factor
        loss = denoising_loss(self.model, batch, self.schedule).mean()
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), fit.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.samples += fit.batch_size * int(self.accelerator.num_processes)
        self._update_average()
        return float(loss.detach())

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.fit.ema, (1 + self.step) / (10 + self.step))
        current = self.plain().state_dict()
        names = [name for name, value in current.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.average[name] for name in names], [current[name] for name in names], 1 - decay
        )


def device_name(accelerator: Any) -> str:
    """Describe the devices of a run: `2 CPU processes in bf16`."""
    processes = int(accelerator.num_processes)
    if accelerator.device.type == "cuda":
        kind = torch.cuda.get_device_name(accelerator.device)
        where = kind if processes == 1 else f"{processes} x {kind}"
    else:
        unit = accelerator.device.type.upper()
        where = f"{processes} {unit} {'process' if processes == 1 else 'processes'}"
    precision = str(accelerator.mixed_precision)
    return f"{where} in {'float32' if precision == 'no' else precision}"


def run(
    trainer: Trainer,
    data: TrainingSet,
    tokens: TokenCache,
    *,
    show: Callable[[Denoiser, int], None],
    probe: Callable[[Denoiser], float | None],
    started: float,
) -> None:
    """Train to the end; `started` is `time.monotonic()` minus the seconds of earlier launches."""
    fit, rank = trainer.config.fit, int(trainer.accelerator.process_index)
    main = bool(trainer.accelerator.is_main_process)
    losses = LossLog(trainer.folder / LOG_FILE, samples=trainer.samples) if main else None
    recent: list[float] = []
    first = trainer.step
    saved = time.monotonic()
    trainer.update_progress()
    if trainer.progress < 1.0:
        trainer.record_machine()
    while trainer.progress < 1.0:
        seed = [fit.seed, rank, trainer.step]
        batch = sample_batch(data, tokens, size=fit.batch_size, seed=seed)
        batch = batch.to(trainer.accelerator.device)
        recent.append(trainer.train_step(batch))
        trainer.seconds = time.monotonic() - started
        if losses is not None and trainer.step % fit.log_every == 0:
            losses.add(_log_row(trainer, data, tokens, recent))
            recent.clear()
        if main and trainer.step % fit.sheet_every == 0:
            with trainer.autocast():
                show(trainer.averaged(), trainer.samples)
        if losses and fit.probe_every and trainer.step % fit.probe_every == 0:
            _log_probe(losses, trainer, probe)
        if main and time.monotonic() - saved > 60 * fit.checkpoint_minutes:
            trainer.save()
            saved = time.monotonic()
        if trainer.step % SYNC_EVERY == 0 or trainer.samples >= fit.samples:
            trainer.update_progress()
    if losses is None:
        return
    # A finished run that is opened again for its decoder has all of this.
    if trainer.step > first or not losses.has_probe_at(trainer.samples):
        trainer.save()
        with trainer.autocast():
            show(trainer.averaged(), trainer.samples)
        _log_probe(losses, trainer, probe)


def _log_probe(
    losses: LossLog, trainer: Trainer, probe: Callable[[Denoiser], float | None]
) -> None:
    with trainer.autocast():
        score = probe(trainer.averaged())
    if score is not None:
        better = score >= trainer.best_probe
        if better:
            trainer.best_probe = score
            trainer.save(best=True)
        losses.add({"samples": trainer.samples, "seconds": trainer.seconds, "probe": score})
        if better:
            # A resumed or longer run has to beat it.
            trainer.save()
        log.info("probe at %d samples: %.2f %%", trainer.samples, 100 * score)


def _log_row(
    trainer: Trainer, data: TrainingSet, tokens: TokenCache, recent: list[float]
) -> dict[str, float]:
    row: dict[str, float] = {
        "samples": trainer.samples,
        "seconds": trainer.seconds,
        "loss": float(np.mean(recent)),
        "lr": trainer.optimizer.param_groups[0]["lr"],
    }
    if trainer.step % trainer.config.fit.gap_every == 0:
        with trainer.autocast():
            gaps = class_gap(trainer.plain(), data, tokens, device=trainer.accelerator.device)
        row |= {f"gap_{t}": gap for t, gap in zip(GAP_TIMES, gaps, strict=True)}
    log.info("%s", " ".join(f"{name} {value:.4g}" for name, value in row.items()))
    return row
