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
from torch.nn import functional

from factory.common.console import progress
from factory.common.errors import UserError
from train.augment import NUM_DRAWS, augment, centre_crop, normalise, to_float
from train.checkpoint import CHECKPOINT, Checkpoint, load_checkpoint, save_checkpoint
from train.config import RunConfig
from train.data import (
    LabelledPixels,
    check_batches,
    epoch_batches,
    num_batches,
    part_of_rank,
)
from train.mixing import check_mix, rows_of_epoch, split_each
from train.model import (
    freeze_body,
    keep_weights,
    parameter_groups,
    save_classifier,
    train_mode,
)
from train.run_folder import WEIGHTS, write_metrics
from train.schedule import learning_rate
from train.scores import Scores, check_finite, sums_of, total_of
from train.uniforms import stream_seed, uniforms

if TYPE_CHECKING:
    from accelerate import Accelerator

_VAL_BATCH = 256
# Reading a loss waits for the GPU, so on GPUs it is read only now and then.
_CHECK_EVERY = {"cpu": 1}
_CHECK_EVERY_ELSEWHERE = 50
# Largest share of the device's free memory for the pixels.
_RESIDENT_SHARE = 0.25


def split_rows(
    data: LabelledPixels, config: RunConfig, *, world_size: int
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Return the training rows and the held-out rows of each dataset.

    Raises:
        UserError: There are too few rows of either for the run's settings.
    """
    values = config.hyperparameters
    train_parts, val_parts = split_each(
        data, fraction=values.val_fraction, seed=config.seed, count=values.val_images
    )
    check_batches(
        sum(map(len, train_parts)),
        batch_size=values.batch_size,
        world_size=world_size,
        accumulate=values.accumulate,
    )
    check_mix(train_parts, config.mix)
    return train_parts, val_parts


class Trainer:
    """One process's share of training a model.

    Attributes:
        train_rows: Row numbers for training.
        val_rows: Row numbers held out.
        metrics: One mapping per epoch, as in `metrics.csv`.
        epochs_done: Finished epochs, those of earlier launches included.
        best_epoch: Number of the best epoch, from 1; 0 before the first.
        best_val_top1: Its accuracy on held-out images, 0 to 1; None without any.
        val_by_part: Latest accuracy on the held-out images of each of several datasets; None for
            one without any.
    """

    def __init__(
        self,
        model: nn.Module,
        data: LabelledPixels,
        *,
        config: RunConfig,
        accelerator: Accelerator,
        out: Path,
        check_folder: Callable[[], None] | None = None,
    ) -> None:
        """Prepare the model, and resume from the checkpoint in `out` if there is one.

        `check_folder` is called before an epoch is written.

        Raises:
            UserError: Batches too small, or a checkpoint that cannot be read.
        """
        values = config.hyperparameters
        self.config, self.accelerator, self.out = config, accelerator, out
        self._check_folder = check_folder
        self._train_parts, self._val_parts = split_rows(
            data, config, world_size=accelerator.num_processes
        )
        self.train_rows = np.concatenate(self._train_parts)
        self.val_rows = np.concatenate(self._val_parts)
        self.steps_per_epoch = num_batches(len(self.train_rows), batch_size=values.batch_size)
        self.metrics: list[dict[str, Any]] = []
        self.epochs_done, self.best_epoch = 0, 0
        self.best_val_top1: float | None = None
        self.val_by_part: list[float | None] = []
        self._pixels, self._labels = self._place(data)
        self._prepare(model)

    def fit(self) -> None:
        """Run the remaining epochs; the folder is consistent after each."""
        values = self.config.hyperparameters
        num_images = len(self.train_rows)
        bar = progress(
            values.epochs * num_images,
            unit="image",
            description="train",
            initial=self.epochs_done * num_images,
            show=self.accelerator.is_main_process,
        )
        try:
            for epoch in range(self.epochs_done, values.epochs):
                started = time.perf_counter()
                train = self._train_epoch(epoch, bar)
                seconds = time.perf_counter() - started
                val = self.score_held_out() if len(self.val_rows) else None
                self._record(epoch, train=train, val=val, seconds=seconds)
                if val is not None:
                    note = f"epoch {epoch + 1}, val top-1 {val.top1:.1%}"
                    bar.set_postfix_str(note, refresh=False)
        finally:
            bar.close()

    def score_held_out(self) -> Scores:
        """Score the held-out images, each exactly once over all processes."""
        self._share_buffers()
        self.bare_model.eval()
        sums = [self._sums_of_held_out(part) for part in self._val_parts]
        train_mode(self.bare_model, head_only=self.config.head_only)
        if len(sums) > 1:
            self.val_by_part = [
                self._scores(one).top1 if len(part) else None
                for one, part in zip(sums, self._val_parts, strict=True)
            ]
        return self._scores([batch for one in sums for batch in one])

    def _sums_of_held_out(self, held_out: NDArray[np.int64]) -> list[Tensor]:
        """Return the results of `sums_of` for this process's share of held-out rows."""
        rank, world_size = self.accelerator.process_index, self.accelerator.num_processes
        rows = part_of_rank(held_out, rank=rank, world_size=world_size)
        sums: list[Tensor] = []
        with torch.inference_mode(), self.accelerator.autocast():
            for start in range(0, len(rows), _VAL_BATCH):
                images, labels = self._batch(rows[start : start + _VAL_BATCH], epoch=None)
                logits = self.bare_model(images).float()
                loss = functional.cross_entropy(logits, labels, reduction="sum")
                sums.append(sums_of(loss, logits, labels))
        return sums

    def backward(self, rows: NDArray[np.int64], *, epoch: int, num_global: int) -> Tensor:
        """Add a batch's gradients to the model's.

        Returns:
            Sum of losses, correct predictions and images of this process; float32.
        """
        images, labels = self._batch(rows, epoch=epoch)
        smoothing = self.config.hyperparameters.label_smoothing
        with self.accelerator.autocast():
            logits = self.model(images)
        logits = logits.float()
        loss = functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)
        # Gradients are averaged over processes, so the mean over the batch is scaled accordingly.
        self.accelerator.backward(loss * (self.accelerator.num_processes / num_global))
        return sums_of(loss.detach(), logits.detach(), labels)

    def _train_epoch(self, epoch: int, bar: Any) -> Scores:
        values, rank = self.config.hyperparameters, self.accelerator.process_index
        torch.manual_seed(stream_seed(self.config.seed, epoch, rank))
        train_mode(self.bare_model, head_only=self.config.head_only)
        parts: list[Tensor] = []
        rows = rows_of_epoch(
            self._train_parts,
            shares=self.config.mix,
            num_rows=len(self._labels),
            seed=self.config.seed,
            epoch=epoch,
        )
        batches = epoch_batches(
            rows, batch_size=values.batch_size, seed=self.config.seed, epoch=epoch
        )
        every = _CHECK_EVERY.get(self.accelerator.device.type, _CHECK_EVERY_ELSEWHERE)
        for number, batch in enumerate(batches):
            step = epoch * self.steps_per_epoch + number
            lr = learning_rate(step, steps_per_epoch=self.steps_per_epoch, values=values)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            rows = part_of_rank(batch, rank=rank, world_size=self.accelerator.num_processes)
            parts.append(self._backward_in_parts(rows, epoch=epoch, num_global=len(batch)))
            if (number + 1) % every == 0 or number + 1 == len(batches):
                check_finite(parts, epoch=epoch, lr=lr)
            if values.clip_grad_norm is not None:
                self.accelerator.clip_grad_norm_(self.model.parameters(), values.clip_grad_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
            bar.update(len(batch))
        return self._scores(parts)

    def _backward_in_parts(self, rows: NDArray[np.int64], *, epoch: int, num_global: int) -> Tensor:
        """Call `backward` for each part of the rows; gradients are exchanged in the last part."""
        *first, last = np.array_split(rows, self.config.hyperparameters.accumulate)
        sums = []
        for part in first:
            with self.accelerator.no_sync(self.model):
                sums.append(self.backward(part, epoch=epoch, num_global=num_global))
        sums.append(self.backward(last, epoch=epoch, num_global=num_global))
        return torch.stack(sums).sum(dim=0)

    def _batch(self, rows: NDArray[np.int64], *, epoch: int | None) -> tuple[Tensor, Tensor]:
        """Return normalised images (B, 3, S, S) and labels (B,); augmented with an `epoch`.

        Without one they are as in scoring. Rows may be numbers of `rows_of_epoch`.
        """
        device, values = self.accelerator.device, self.config.hyperparameters
        index = torch.from_numpy(rows % len(self._labels)).to(self._pixels.device)
        images = to_float(self._pixels[index].to(device, non_blocking=True))
        if epoch is not None:
            draws = uniforms(rows, seed=self.config.seed, epoch=epoch, num_draws=NUM_DRAWS)
            images = augment(images, torch.from_numpy(draws).to(device), values.augmentation)
        elif values.test_crop < 1:
            images = centre_crop(images, values.test_crop)
        if values.mean is None or values.std is None:
            raise AssertionError("mean and std are resolved before training")
        images = normalise(images, mean=values.mean, std=values.std)
        return images, self._labels[index].to(device, non_blocking=True)

    def _record(self, epoch: int, *, train: Scores, val: Scores | None, seconds: float) -> None:
        """Save the epoch: weights if they are the best, then the checkpoint, then the metrics."""
        values = self.config.hyperparameters
        last_step = (epoch + 1) * self.steps_per_epoch - 1
        self.metrics.append(
            {
                "epoch": epoch + 1,
                "lr": learning_rate(last_step, steps_per_epoch=self.steps_per_epoch, values=values),
                "train_loss": train.loss,
                "train_top1": train.top1,
                "val_loss": val.loss if val else None,
                "val_top1": val.top1 if val else None,
                "images_per_s": len(self.train_rows) / seconds,
                "seconds": seconds,
                **{f"val_top1_{one}": top1 for one, top1 in enumerate(self.val_by_part, 1)},
            }
        )
        self.epochs_done = epoch + 1
        better = self._is_best(val)
        if better:
            self.best_epoch, self.best_val_top1 = epoch + 1, val.top1 if val else None
        self._share_buffers()
        if self.accelerator.is_main_process:
            if self._check_folder is not None:
                self._check_folder()
            # If killed between the two, the run repeats this epoch and writes the same weights.
            if better:
                save_classifier(
                    self.bare_model,
                    self.out,
                    config=self.config,
                    epoch=epoch + 1,
                    val_top1=self.best_val_top1,
                )
            if values.keep_every and (epoch + 1) % values.keep_every == 0:
                keep_weights(self.bare_model, self.out, epoch=epoch + 1)
            save_checkpoint(self.out, self._checkpoint())
            write_metrics(self.out, self.metrics)
        self.accelerator.wait_for_everyone()

    def _is_best(self, val: Scores | None) -> bool:
        """Compare with the best epoch so far; at equal accuracy the lower loss wins."""
        if val is None or self.best_epoch == 0:
            return True
        best = self.metrics[self.best_epoch - 1]
        return (val.top1, -val.loss) > (best["val_top1"], -best["val_loss"])

    def _checkpoint(self) -> Checkpoint:
        scaler = self.accelerator.scaler
        return Checkpoint(
            epochs_done=self.epochs_done,
            model=self.bare_model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scaler=scaler.state_dict() if scaler is not None else None,
            metrics=self.metrics,
            best_epoch=self.best_epoch,
            best_val_top1=self.best_val_top1,
        )

    def _prepare(self, model: nn.Module) -> None:
        values, accelerator = self.config.hyperparameters, self.accelerator
        checkpoint = load_checkpoint(self.out)
        if checkpoint is not None:
            if not (self.out / WEIGHTS).exists():
                raise UserError(
                    f"{self.out / WEIGHTS}: is missing although {CHECKPOINT} records it; "
                    f"delete {self.out / CHECKPOINT} to start training again"
                )
            model.load_state_dict(checkpoint.model)
        if accelerator.device.type == "cuda" and accelerator.num_processes > 1:
            from timm.layers.norm_act import convert_sync_batchnorm

            model = convert_sync_batchnorm(model)
        # oneDNN and cuDNN convolve channels-last images faster; other models are not affected.
        self.bare_model = model.to(accelerator.device).to(memory_format=torch.channels_last)
        if self.config.head_only:
            freeze_body(self.bare_model)
        groups = parameter_groups(
            model, weight_decay=values.weight_decay, decay_all=values.decay_all
        )
        optimizer = torch.optim.AdamW(groups, lr=values.lr)
        self.model, self.optimizer = accelerator.prepare(self.bare_model, optimizer)
        if checkpoint is not None:
            self._restore(checkpoint)

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.optimizer.load_state_dict(checkpoint.optimizer)
        if self.accelerator.scaler is not None and checkpoint.scaler is not None:
            self.accelerator.scaler.load_state_dict(checkpoint.scaler)
        self.metrics, self.epochs_done = checkpoint.metrics, checkpoint.epochs_done
        self.best_epoch, self.best_val_top1 = checkpoint.best_epoch, checkpoint.best_val_top1
        if self.accelerator.is_main_process:
            # The run may have been killed after writing the checkpoint and before the metrics.
            write_metrics(self.out, self.metrics)

    def _place(self, data: LabelledPixels) -> tuple[Tensor, Tensor]:
        """Return pixels and labels as tensors, on the GPU if they need little of its memory."""
        pixels, labels = torch.from_numpy(data.pixels), torch.from_numpy(data.labels)
        device = self.accelerator.device
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if pixels.nbytes < _RESIDENT_SHARE * free:
                return pixels.to(device), labels.to(device)
        return pixels, labels

    def _share_buffers(self) -> None:
        """Copy the main process's batch norm statistics to all, because they are the ones saved."""
        if self.accelerator.num_processes > 1:
            for buffer in self.bare_model.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def _scores(self, parts: list[Tensor]) -> Scores:
        total = total_of(parts)
        if self.accelerator.num_processes > 1:
            mine = torch.from_numpy(total).to(self.accelerator.device)
            total = self.accelerator.reduce(mine, reduction="sum").cpu().numpy()
        return Scores(loss=float(total[0] / total[2]), top1=float(total[1] / total[2]))
