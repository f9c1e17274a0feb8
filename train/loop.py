"""The training loop: steps over all processes, held-out scores, best weights, checkpoint.

Several processes train as one on the same global batch: each takes its share, and a batch's loss is
the sum over its images divided by their number, over all processes. Two things differ per process:
dropout, and the batch statistics of batch norm on CPUs (on several GPUs batch norm is
synchronised); models without both give the same gradients for any number of processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from factory.common.console import progress
from train.checkpoint import Checkpoint, gather_middle, resume_middle
from train.config import RunConfig
from train.data import LabelledPixels, part_of_rank
from train.image_files import LabelledFiles, make_store
from train.inputs import Inputs
from train.learner import Learner
from train.losses import make_loss
from train.mixup import ImageMixing
from train.pixel_store import Batch
from train.records import Records
from train.rows import RunRows
from train.schedule import make_schedule
from train.scores import HeldOut, Scores, check_finite, sums_of
from train.stopping import Stopping
from train.teacher import Distilling, Teacher
from train.uniforms import stream_seed

if TYPE_CHECKING:
    from accelerate import Accelerator

# Steps; reading a loss waits for the GPU, and agreeing to stop for all processes.
_CHECK_EVERY_ON_GPUS = 50


class Trainer:
    """One process's share of training a model.

    Attributes:
        learner: The model, its optimiser and its average.
        records: The epochs so far, the best one, and the files of the run folder.
        rows: Which images are trained on and held out.
    """

    def __init__(
        self,
        model: nn.Module,
        data: LabelledPixels | LabelledFiles,
        *,
        config: RunConfig,
        accelerator: Accelerator,
        out: Path,
        teacher: Teacher | None = None,
        check_folder: Callable[[], None] | None = None,
        recovery_interval: int | None = None,
        workers: int = 0,
    ) -> None:
        """Prepare the model, and resume from the checkpoint in `out` if there is one.

        Raises:
            UserError: Batches too small, or a checkpoint that cannot be read.
        """
        values = config.hyperparameters
        self.config, self.accelerator = config, accelerator
        self._recovery_interval = recovery_interval
        self._check_every = 1 if accelerator.device.type == "cpu" else _CHECK_EVERY_ON_GPUS
        self.rows = RunRows(data, config, world_size=accelerator.num_processes)
        seed, device = config.seed, accelerator.device
        self._images = make_store(data, values, seed=seed, device=device, workers=workers)
        cropped = isinstance(data, LabelledFiles)
        self._inputs = Inputs(values, seed=seed, device=device, cropped=cropped)
        self._held_out = HeldOut(self._images, self._inputs, self.rows, accelerator=accelerator)
        self._mix = ImageMixing(values, num_classes=len(data.label_names), seed=seed)
        self._loss = make_loss(values)
        self._distilling = None if teacher is None else Distilling(teacher, values, device=device)
        self._rate = make_schedule(values, steps_per_epoch=self.rows.steps)
        writes = accelerator.is_main_process
        self.records = Records(out, config, writes=writes, check_folder=check_folder)
        checkpoint, self.records.checkpoint = self.records.checkpoint, None
        self.learner = Learner(model, config, accelerator, checkpoint=checkpoint)
        self._middle = self.records.middle

    def fit(self) -> None:
        """Run the remaining epochs; the folder is consistent after each."""
        epochs, num_images = self.config.hyperparameters.epochs, len(self.rows.train)
        done = self.records.epochs_done * num_images
        is_main = self.accelerator.is_main_process
        with (
            Stopping(self.accelerator) as self._stopping,
            progress(
                epochs * num_images, unit="image", description="train", initial=done, show=is_main
            ) as bar,
        ):
            for epoch in range(self.records.epochs_done, epochs):
                started = time.perf_counter()
                before = self._middle.seconds if self._middle else 0.0
                train = self._train_epoch(epoch, bar)
                seconds = before + time.perf_counter() - started
                val = self.score_held_out() if len(self.rows.val) else None
                self._record(epoch, train=train, val=val, seconds=seconds)
                self._stopping.agree()
                self._stopping.check()
                if is_main and epoch + 1 == epochs:
                    self.records.draw()

    def score_held_out(self) -> Scores:
        """Score the held-out images, each exactly once over all processes."""
        self.learner.share_buffers()
        with self.learner.scoring() as model:
            return self._held_out.score(model)

    def batch_of(self, rows: NDArray[np.int64]) -> Batch:
        """Return the images of some rows."""
        return next(self._images.batches([rows]))

    def backward(
        self, batch: Batch, *, epoch: int, num_global: int, place: tuple[int, ...] = ()
    ) -> Tensor:
        """Add a batch's gradients to the model's.

        Args:
            batch: Of this process.
            epoch: From 0.
            num_global: Images of the step, over all processes.
            place: See `ImageMixing`.

        Returns:
            Sum of losses, correct predictions and images of this process; float32.
        """
        images = self._inputs.for_training(batch.pixels, batch.rows, epoch=epoch)
        images, targets = self._mix(images, batch.labels, epoch=epoch, place=place)
        if self.rows.first_real is not None:
            self.learner.expect_real(int(self.rows.is_real(batch.rows).sum()))
        with self.accelerator.autocast():
            logits = self.learner.model(images)
        logits = logits.float()
        loss = self._loss(logits, targets)
        if self._distilling is not None:
            with self.accelerator.autocast():
                loss = self._distilling(loss, logits, images)
        # Gradients are averaged over processes, so the mean over the batch is scaled accordingly.
        self.accelerator.backward(loss * (self.accelerator.num_processes / num_global))
        return sums_of(loss.detach(), logits.detach(), batch.labels)

    def _train_epoch(self, epoch: int, bar: Any) -> Scores:
        rank, world_size = self.accelerator.process_index, self.accelerator.num_processes
        torch.manual_seed(stream_seed(self.config.seed, epoch, rank))
        self.learner.train_mode()
        batches = self.rows.batches(epoch)
        started = time.perf_counter()
        sums, before = self._resume_epoch()
        bar.update(sum(map(len, batches[: len(sums)])))
        rest = batches[len(sums) :]
        shares = (part_of_rank(one, rank=rank, world_size=world_size) for one in rest)
        for batch in self._images.batches(shares, epoch=epoch):
            number = len(sums)
            step, size = epoch * self.rows.steps + number, len(batches[number])
            rate = self._rate(step)
            self.learner.set_rate(rate)
            sums.append(self._backward_in_parts(batch, epoch=epoch, num_global=size, step=step))
            if (number + 1) % self._check_every == 0 or number + 1 == len(batches):
                first = number - number % self._check_every  # Of the steps since the last check.
                self._check(sums, epoch=epoch, rate=rate, first=first)
                bar.set_postfix_str(self.records.progress(sums, rate=rate), refresh=False)
            self.learner.update(step)
            bar.update(size)
            self._pause(epoch, sums, rate=rate, seconds=before + time.perf_counter() - started)
        self._check_weights(epoch, len(sums))
        return self._held_out.total(sums)

    def _backward_in_parts(self, batch: Batch, *, epoch: int, num_global: int, step: int) -> Tensor:
        """Call `backward` for each part of a batch; gradients are exchanged in the last part."""
        *first, last = batch.split(self.config.hyperparameters.accumulate)
        rank, sums = self.accelerator.process_index, []
        for number, part in enumerate(first):
            with self.accelerator.no_sync(self.learner.model):
                place = (step, rank, number)
                sums.append(self.backward(part, epoch=epoch, num_global=num_global, place=place))
        place = (step, rank, len(first))
        sums.append(self.backward(last, epoch=epoch, num_global=num_global, place=place))
        return torch.stack(sums).sum(dim=0)

    def _pause(self, epoch: int, sums: list[Tensor], *, rate: float, seconds: float) -> None:
        """Write a checkpoint within an epoch if one is due, or if the process was asked to stop."""
        if len(sums) == self.rows.steps:
            return  # The end of the epoch is written in any case.
        self._stopping.agree(due=len(sums) % self._check_every == 0)
        interval = self._recovery_interval
        if self._stopping.asked or (interval and len(sums) % interval == 0):
            self._check(sums, epoch=epoch, rate=rate)
            self._check_weights(epoch, len(sums))
            middle = gather_middle(sums, seconds=seconds, accelerator=self.accelerator)
            if self.accelerator.is_main_process:
                self.records.save_middle(self._checkpoint(), middle)
            # A process that ends earlier would make the launcher stop the one that writes.
            self.accelerator.wait_for_everyone()
        self._stopping.check()

    def _check(self, sums: list[Tensor], *, epoch: int, rate: float, first: int = 0) -> None:
        check_finite(sums[first:], epoch=epoch, first=first, lr=rate, kept=self.records.kept)

    def _check_weights(self, epoch: int, steps: int) -> None:
        place = f"epoch {epoch + 1}, step {steps}"
        self.learner.require_finite(place=place, kept=self.records.kept)

    def _resume_epoch(self) -> tuple[list[Tensor], float]:
        """Return the sums of the steps that a checkpoint within this epoch has, and their time."""
        middle, self._middle = self._middle, None
        return (resume_middle(middle, self.accelerator), middle.seconds) if middle else ([], 0.0)

    def _record(self, epoch: int, *, train: Scores, val: Scores | None, seconds: float) -> None:
        self.records.add_epoch(
            rate=self._rate((epoch + 1) * self.rows.steps - 1),
            train=train,
            val=val,
            val_by_part=self._held_out.top1_by_part,
            by_class=self._held_out.by_class,
            num_images=len(self.rows.train),
            seconds=seconds,
        )
        self.learner.share_buffers()
        if self.accelerator.is_main_process:
            self.records.save_epoch(self.learner.saved_model, self._checkpoint())
        known = {key: one for key, one in self.records.metrics[-1].items() if one is not None}
        self.accelerator.log(known, step=epoch + 1)
        self.accelerator.wait_for_everyone()

    def _checkpoint(self) -> Checkpoint:
        return self.records.fill(self.learner.checkpoint())
