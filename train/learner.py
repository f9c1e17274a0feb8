"""The model of a run with what changes it: optimiser, average of weights, precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from factory.common.errors import Failure
from train.checkpoint import Checkpoint
from train.config import RunConfig
from train.head import freeze_body, train_mode
from train.optimizer import make_optimizer, set_rate
from train.scores import REMEDY
from train.small_maps import use_matrix_products
from train.split_norm import Real, split_norms

if TYPE_CHECKING:
    from accelerate import Accelerator


class Learner:
    """The model in training.

    Attributes:
        model: As accelerate prepared it: gradients are exchanged between processes.
        bare_model: The same weights, without that.
    """

    def __init__(
        self,
        model: nn.Module,
        config: RunConfig,
        accelerator: Accelerator,
        *,
        checkpoint: Checkpoint | None,
    ) -> None:
        """Prepare the model, from a checkpoint if there is one.

        Raises:
            UserError: The optimiser cannot be used.
        """
        self._values, self._accelerator = config.hyperparameters, accelerator
        self._head_only = config.head_only
        self._real: Real | None = None
        if self._values.split_bn:
            model, self._real = split_norms(model, name=config.model)
        if checkpoint is not None:
            model.load_state_dict(checkpoint.model)
        if accelerator.device.type == "cuda" and accelerator.num_processes > 1:
            from timm.layers.norm_act import convert_sync_batchnorm

            model = convert_sync_batchnorm(model)
        # oneDNN and cuDNN convolve channels-last images faster; other models are not affected.
        self.bare_model = model.to(accelerator.device).to(memory_format=torch.channels_last)
        if accelerator.device.type == "cpu":
            use_matrix_products(self.bare_model)
        if self._head_only:
            freeze_body(self.bare_model)
        optimizer = make_optimizer(self.bare_model, self._values)
        self.model, self._optimizer = accelerator.prepare(self.bare_model, optimizer)
        self._average = self._make_average()
        if checkpoint is not None:
            self._restore(checkpoint)

    @property
    def saved_model(self) -> nn.Module:
        """The model that is scored and saved: the average of weights, if there is one."""
        if self._average is None:
            return self.bare_model
        averaged: nn.Module = self._average.module
        return averaged

    def train_mode(self) -> None:
        """Set training mode; with a frozen body, of the last layer only."""
        train_mode(self.bare_model, head_only=self._head_only)

    @contextmanager
    def scoring(self) -> Iterator[nn.Module]:
        """Return the model to score, in evaluation mode, and go back to training mode."""
        self.saved_model.eval()
        yield self.saved_model
        self.train_mode()

    def expect_real(self, count: int) -> None:
        """Tell batch norm how many images at the beginning of the next batch are real."""
        if self._real is not None:
            self._real.count = count

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        set_rate(self._optimizer, rate)

    def update(self, step: int) -> None:
        """Change the weights by the gradients of a step, from 0 over all epochs."""
        norm = self._values.clip_grad_norm
        if norm is not None:
            self._accelerator.clip_grad_norm_(self.model.parameters(), norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average is not None:
            self._average.update(self.bare_model, step=step + 1)

    def require_finite(self, *, place: str, kept: str) -> None:
        """Check that the weights are finite, before they are written.

        Raises:
            Failure: They are not.
        """
        finite = [torch.isfinite(one).all() for one in self.bare_model.parameters()]
        if not torch.stack(finite).all():
            raise Failure(f"{place}: the weights are not finite; {kept}; {REMEDY}")

    def share_buffers(self) -> None:
        """Copy the main process's batch norm statistics to all, because they are the ones saved."""
        if self._accelerator.num_processes > 1:
            for buffer in self.saved_model.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def checkpoint(self) -> Checkpoint:
        """Return the state of model and optimiser, without that of the run."""
        scaler = self._accelerator.scaler
        return Checkpoint(
            model=self.bare_model.state_dict(),
            optimizer=self._optimizer.state_dict(),
            scaler=scaler.state_dict() if scaler is not None else None,
            average=self._average.module.state_dict() if self._average is not None else None,
        )

    def _make_average(self) -> Any:
        if not self._values.model_ema:
            return None
        from timm.utils.model_ema import ModelEmaV3

        return ModelEmaV3(
            self.bare_model,
            decay=self._values.model_ema_decay,
            use_warmup=self._values.model_ema_warmup,
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        self._optimizer.load_state_dict(checkpoint.optimizer)
        if self._accelerator.scaler is not None and checkpoint.scaler is not None:
            self._accelerator.scaler.load_state_dict(checkpoint.scaler)
        if self._average is not None and checkpoint.average is not None:
            self._average.module.load_state_dict(checkpoint.average)
