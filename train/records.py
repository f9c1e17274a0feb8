"""The epochs of a run: their numbers, the best one, and their files in the run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from factory.common.errors import UserError
from train import curves
from train.checkpoint import CHECKPOINT, Checkpoint, MiddleOfEpoch, load_checkpoint, save_checkpoint
from train.config import RunConfig
from train.run_folder import WEIGHTS, write_metrics
from train.saving import keep_weights, save_classifier
from train.scores import Scores, total_of
from train.several_labels import ClassScores, mean_average_precision, write_class_scores

# Steps whose loss is shown.
_RECENT = 50


class Records:
    """Results of a run so far.

    Attributes:
        checkpoint: From which the run resumes, or None.
        middle: The part of an epoch that it has, or None.
        metrics: One mapping per epoch, as in `metrics.csv`.
        epochs_done: Finished epochs, those of earlier launches included.
        best_epoch: Number of the best epoch, from 1; 0 before the first.
        best_val_top1: Its accuracy on held-out images, 0 to 1; None without any.
    """

    def __init__(
        self,
        out: Path,
        config: RunConfig,
        *,
        writes: bool = True,
        check_folder: Callable[[], None] | None = None,
    ) -> None:
        """Read the checkpoint in `out`, if there is one.

        Raises:
            UserError: It cannot be read, or its weights are missing.
        """
        self._out, self._config, self._check_folder = out, config, check_folder
        self.metrics: list[dict[str, Any]] = []
        self.epochs_done, self.best_epoch = 0, 0
        self.best_val_top1: float | None = None
        self.middle: MiddleOfEpoch | None = None
        self._by_class: Sequence[ClassScores] = ()
        self.checkpoint = load_checkpoint(out)
        if self.checkpoint is not None:
            self._restore(self.checkpoint)
        if self.metrics and writes:
            # The run may have been killed after writing the checkpoint and before the metrics.
            write_metrics(out, self.metrics)

    @property
    def kept(self) -> str:
        """Where the weights of the last finished epoch are, for messages."""
        if not self.epochs_done:
            return "no epoch was finished"
        return f"{self._out} keeps the weights after epoch {self.epochs_done}"

    def progress(self, sums: Sequence[Tensor], *, rate: float) -> str:
        """Return a line about the next epoch: its recent loss, rate, and the best epoch so far."""
        total = total_of(sums[-_RECENT:])
        line = f"epoch {self.epochs_done + 1}, loss {total[0] / total[2]:.3f}, lr {rate:.2g}"
        if self.best_val_top1 is not None:
            line += f", best val top-1 {self.best_val_top1:.1%} (epoch {self.best_epoch})"
        return line

    def add_epoch(
        self,
        *,
        rate: float,
        train: Scores,
        val: Scores | None,
        val_by_part: Sequence[float | None],
        by_class: Sequence[ClassScores] = (),
        num_images: int,
        seconds: float,
    ) -> None:
        """Add a finished epoch; it may become the best one."""
        self._by_class = by_class
        self.metrics.append(
            {
                "epoch": self.epochs_done + 1,
                "lr": rate,
                "train_loss": train.loss,
                "train_top1": train.top1,
                "val_loss": val.loss if val else None,
                "val_top1": val.top1 if val else None,
                "images_per_s": num_images / seconds,
                "seconds": seconds,
                **{f"val_top1_{one}": top1 for one, top1 in enumerate(val_by_part, 1)},
                **({"val_map": mean_average_precision(by_class)} if by_class else {}),
            }
        )
        better = self._is_best(val)
        self.epochs_done += 1
        if better:
            self.best_epoch = self.epochs_done
            self.best_val_top1 = val.top1 if val else None

    def save_epoch(self, model: nn.Module, checkpoint: Checkpoint) -> None:
        """Save the last epoch: weights if they are the best, then the checkpoint, then metrics.

        If killed between the two, the run repeats this epoch and writes the same weights.
        """
        if self._check_folder is not None:
            self._check_folder()
        if self.best_epoch == self.epochs_done:
            save_classifier(
                model,
                self._out,
                config=self._config,
                epoch=self.epochs_done,
                val_top1=self.best_val_top1,
            )
            if self._by_class:
                write_class_scores(self._out, self._config.data.label_names, self._by_class)
        interval = self._config.hyperparameters.keep_every
        if interval and self.epochs_done % interval == 0:
            keep_weights(model, self._out, epoch=self.epochs_done)
        save_checkpoint(self._out, checkpoint)
        write_metrics(self._out, self.metrics)

    def save_middle(self, checkpoint: Checkpoint, middle: MiddleOfEpoch) -> None:
        """Save the part of an epoch that is done."""
        if self._check_folder is not None:
            self._check_folder()
        save_checkpoint(self._out, replace(checkpoint, middle=middle))

    def draw(self) -> None:
        """Draw the curves of all epochs."""
        if self.metrics:
            curves.draw_curves(self._out, self.metrics, best_epoch=self.best_epoch)

    def fill(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return a checkpoint of model and optimiser with the state of the run."""
        return replace(
            checkpoint,
            epochs_done=self.epochs_done,
            metrics=self.metrics,
            best_epoch=self.best_epoch,
            best_val_top1=self.best_val_top1,
        )

    def _is_best(self, val: Scores | None) -> bool:
        """Compare with the best epoch so far; at equal accuracy the lower loss wins.

        With several labels per image, mean average precision decides instead of accuracy.
        """
        if val is None or self.best_epoch == 0:
            return True
        best, last = self.metrics[self.best_epoch - 1], self.metrics[-1]
        score = "val_map" if "val_map" in last else "val_top1"
        return bool((last[score], -last["val_loss"]) > (best[score], -best["val_loss"]))

    def _restore(self, checkpoint: Checkpoint) -> None:
        if checkpoint.epochs_done and not (self._out / WEIGHTS).exists():
            raise UserError(
                f"{self._out / WEIGHTS}: is missing although {CHECKPOINT} records it; "
                f"delete {self._out / CHECKPOINT} to start training again"
            )
        self.metrics, self.epochs_done = checkpoint.metrics, checkpoint.epochs_done
        self.best_epoch, self.best_val_top1 = checkpoint.best_epoch, checkpoint.best_val_top1
        self.middle = checkpoint.middle
