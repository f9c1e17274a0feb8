"""The training loop of the denoiser: one process or several, resumable after a kill.

Every draw of a step is a function of (seed, rank, step), so a resumed run takes up the samples
where the checkpoint left them. A checkpoint is written under a temporary name and renamed.
"""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from train.generator.captions import Captioner
from train.generator.config import Config
from train.generator.data import Collection
from train.generator.model import TRAIN_STEPS, Denoiser, noise_schedule
from train.generator.run_config import BEST_FILE, CHECKPOINT_FILE
from train.generator.text import TokenCache

log = logging.getLogger(__name__)

GAP_TIMES = (200, 500, 800, 950)
SYNC_EVERY = 20
UNRECORDED = "a machine that was not recorded"
COLUMNS = ("samples", "seconds", "loss", "lr", *(f"gap_{t}" for t in GAP_TIMES), "probe")


@dataclass(frozen=True)
class TrainingSet:
    """What a batch is drawn from.

    Attributes:
        latents: float16 (N, C, h, w).
        collection: The same pictures' facts.
        caption: Words the facts.
        empty: The share of captions left empty, for guidance.
        cumulative: Running sum of how likely each picture is drawn, float64 (N).
    """

    latents: Tensor
    collection: Collection
    caption: Captioner
    empty: float
    cumulative: NDArray[np.float64]

    def choose(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """Draw numbers of pictures by their weights."""
        places = np.searchsorted(self.cumulative, rng.random(size) * self.cumulative[-1])
        chosen: NDArray[np.int64] = np.minimum(places, len(self.cumulative) - 1)
        return chosen


@dataclass(frozen=True)
class Batch:
    """Latents (N, C, h, w), noise of that shape, timesteps (N) and token ids (N, length)."""

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    tokens: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        parts = (self.latents, self.noise, self.timesteps, self.tokens)
        return Batch(*(part.to(device, non_blocking=True) for part in parts))


def draw_batch(data: TrainingSet, tokens: TokenCache, *, size: int, seed: list[int]) -> Batch:
    """Draw a batch; timesteps are stratified over the schedule."""
    rng = np.random.default_rng(seed)
    indexes = data.choose(rng, size)
    captions = [
        "" if rng.random() < data.empty else data.caption(data.collection.facts[i], rng)
        for i in indexes
    ]
    slots = (np.arange(size) + rng.random(size)) / size
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    latents = data.latents[torch.from_numpy(indexes)].float()
    return Batch(
        latents=latents,
        noise=torch.randn(latents.shape, generator=generator),
        timesteps=torch.from_numpy((slots * TRAIN_STEPS).astype(np.int64)),
        tokens=tokens(captions),
    )


def denoising_loss(model: Any, batch: Batch, schedule: Any) -> Tensor:
    """Return the mean squared error of v for each sample, (N)."""
    noisy = schedule.add_noise(batch.latents, batch.noise, batch.timesteps)
    target = schedule.get_velocity(batch.latents, batch.noise, batch.timesteps)
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    predicted = model(noisy, batch.timesteps, batch.tokens)
    return functional.mse_loss(predicted, target, reduction="none").mean((1, 2, 3))


@torch.no_grad()
def class_gap(
    model: Denoiser,
    data: TrainingSet,
    tokens: TokenCache,
    *,
    device: torch.device,
    size: int = 256,
) -> list[float]:
    """Return how much worse a caption of another class predicts, at each of `GAP_TIMES`.

    Of focus classes' pictures where there are any, as they are drawn in training. The first thing
    to watch: a gap that stays below 0.005 means that words are not heard.
    """
    right, wrong = _gap_pairs(data, size)
    facts = data.collection.facts
    schedule = noise_schedule()
    gaps = []
    for t in GAP_TIMES:
        losses = []
        for named in (wrong, right):
            # The same draws for both: only the class differs.
            rng = np.random.default_rng(t)
            captions = [
                data.caption(_with_subject(facts[i], facts[j]), rng)
                for i, j in zip(right, named, strict=True)
            ]
            latents = data.latents[torch.from_numpy(right)].float()
            noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(t))
            batch = Batch(latents, noise, torch.full((size,), t), tokens(captions)).to(device)
            losses.append(float(denoising_loss(model, batch, schedule).mean()))
        gaps.append(losses[0] - losses[1])
    return gaps


def _gap_pairs(data: TrainingSet, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return numbers of pictures, and for each one of another class of the same source."""
    rng = np.random.default_rng(7)
    facts = data.collection.facts
    drawn = data.choose(rng, 40 * size)
    focused = np.array([i for i in drawn if "focus" in facts[i] and "filter" not in facts[i]])
    pool = focused if len(focused) >= size else drawn
    right = pool[:size]
    classes = data.collection.classes()
    sources = np.array([known["source"] for known in facts])
    others = rng.choice(pool, size=(size, 60))
    differs = (classes[others] != classes[right][:, None]) & (
        sources[others] == sources[right][:, None]
    )
    return right, others[np.arange(size), differs.argmax(axis=1)]


def _with_subject(facts: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    """Return facts whose subject is that of another picture."""
    subject = ("digit", "name", "general", "caption", "class", "focus")
    kept = {fact: value for fact, value in facts.items() if fact not in subject}
    return kept | {fact: other[fact] for fact in subject if fact in other}


def lr_factor(progress: float, step: int, warmup_steps: int) -> float:
    """Return the learning rate's factor: linear warm-up, then a cosine down to 1 %."""
    warm = min(1.0, (step + 1) / max(1, warmup_steps))
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class Trainer:
    """One process of a run: model, optimizer, average, and where the run stands."""

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
        # Of all processes together; a resumed run may use another batch or number of processes.
        self.samples = 0
        self.seconds = 0.0
        self.progress = 0.0
        self.best_probe = 0.0
        self.computed_on: list[str] = []

    def forget_average(self) -> None:
        """Let the averaged weights begin at the weights as they are."""
        self.average = {k: v.detach().clone() for k, v in self.plain().state_dict().items()}

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.folder / CHECKPOINT_FILE

    def plain(self) -> Denoiser:
        """Return the model without the wrapper of several processes."""
        unwrapped: Denoiser = self.accelerator.unwrap_model(self.model)
        return unwrapped

    def averaged(self) -> Denoiser:
        """Return a copy of the model with the averaged weights, for looking at."""
        import copy

        model = copy.deepcopy(self.plain())
        model.load_state_dict(self.average)
        return model.eval()

    def autocast(self) -> Any:
        """Return the context in which `plain()` computes as training does."""
        return self.accelerator.autocast()

    def resume(self) -> bool:
        """Take up the checkpoint, if there is one."""
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
        """Write the state, or keep it as that of the best probe: whole or not at all."""
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
        temporary = path.with_name(f"tmp-{path.name}")
        torch.save(state, temporary)
        temporary.replace(path)

    def update_progress(self) -> None:
        """Agree among processes on how much of the run is over, 0 to 1.

        Time differs between processes; learning rates must not, so the first process says.
        """
        fit = self.config.fit
        done = self.samples / fit.samples
        if fit.max_minutes is not None:
            done = max(done, self.seconds / (60 * fit.max_minutes))
        shared = torch.tensor([done], dtype=torch.float32, device=self.accelerator.device)
        if self.accelerator.num_processes > 1:
            torch.distributed.broadcast(shared, src=0)
        self.progress = float(shared)

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
        if (name := device_name(self.accelerator)) not in self.computed_on:
            self.computed_on.append(name)
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
    """Say what a run computes on: `2 CPU processes in bf16`."""
    processes = int(accelerator.num_processes)
    if accelerator.device.type == "cuda":
        kind = torch.cuda.get_device_name(accelerator.device)
        where = kind if processes == 1 else f"{processes} x {kind}"
    else:
        unit = accelerator.device.type.upper()
        where = f"{processes} {unit} {'process' if processes == 1 else 'processes'}"
    precision = str(accelerator.mixed_precision)
    return f"{where} in {'float32' if precision == 'no' else precision}"


class LossLog:
    """A CSV of losses and class gaps; rows after a checkpoint are dropped on resuming."""

    def __init__(self, path: Path, *, samples: int) -> None:
        self._path = path
        kept = read_log(path, until=samples) if path.exists() else []
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)

    def add(self, row: dict[str, float]) -> None:
        """Append one row; absent columns stay empty."""
        texts = {k: f"{v:.0f}" if k == "samples" else f"{v:.6g}" for k, v in row.items()}
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS).writerow(texts)

    def has_probe_at(self, samples: int) -> bool:
        """Whether the model was probed after so many samples."""
        rows = read_log(self._path, until=samples)
        return any(row["probe"] and float(row["samples"]) >= samples for row in rows)


def read_log(path: Path, *, until: int | None = None) -> list[dict[str, str]]:
    """Read the rows of a `LossLog`, all of them or those up to so many samples."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if until is None:
        return rows
    # Logs used to round the samples to six digits, upwards too.
    last = max(until, float(f"{until:.6g}"))
    return [row for row in rows if float(row["samples"]) <= last]


def run(
    trainer: Trainer,
    data: TrainingSet,
    tokens: TokenCache,
    *,
    show: Callable[[Denoiser, int], None],
    probe: Callable[[Denoiser], float | None],
    started: float,
) -> None:
    """Train to the end of the run.

    Args:
        trainer: Already resumed, if it is to be.
        data: What to learn from.
        tokens: Turns captions into ids.
        show: Called as `show(model, samples)` with the averaged model now and then.
        probe: Scores the averaged model now and then; None where there is nothing to score on.
        started: `time.monotonic()` minus the seconds the run has already taken.
    """
    fit, rank = trainer.config.fit, int(trainer.accelerator.process_index)
    main = bool(trainer.accelerator.is_main_process)
    losses = LossLog(trainer.folder / "loss.csv", samples=trainer.samples) if main else None
    recent: list[float] = []
    first = trainer.step
    saved = time.monotonic()
    trainer.update_progress()
    while trainer.progress < 1.0:
        seed = [fit.seed, rank, trainer.step]
        batch = draw_batch(data, tokens, size=fit.batch_size, seed=seed)
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
    # A finished run that is opened again, for its decoder, has all of this.
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
            # What is trained again after a kill, or longer, has to beat it.
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
