"""The rows of a run: trained on, held out, and in the order of each epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import UserError
from train.config import RunConfig
from train.data import Labelled, check_batches, epoch_batches, num_batches
from train.mixing import check_mix, rows_of_epoch, split_each
from train.split_norm import batches_of_groups

_SPLIT_STREAM = 6


class RunRows:
    """Row numbers, as functions of the run's seed.

    Attributes:
        train: Rows to train on.
        val: Rows held out.
        val_parts: Those of each dataset.
        several_labels: Whether images have several labels.
        steps: Steps of an epoch.
        first_real: With `split_bn`, the first row of the real images, which are last; else None.
    """

    def __init__(self, data: Labelled, config: RunConfig, *, world_size: int) -> None:
        """Hold out rows.

        Raises:
            UserError: There are too few rows of either kind for the run's settings.
        """
        values = config.hyperparameters
        self._config, self._labels, self._parts = config, data.labels, data.parts
        self.several_labels = data.labels.ndim == 2
        self.first_real = _first_real(data, world_size) if values.split_bn else None
        self._train_parts, self.val_parts = split_each(
            data, fraction=values.val_fraction, seed=config.seed, count=values.val_images
        )
        self.train = np.concatenate(self._train_parts)
        self.val = np.concatenate(self.val_parts)
        check_batches(
            len(self.train),
            batch_size=values.batch_size,
            world_size=world_size,
            accumulate=values.accumulate,
        )
        check_mix(self._train_parts, config.mix)
        self.steps = num_batches(len(self.train), batch_size=values.batch_size)
        if self.first_real is not None:
            self.batches(0)  # Too few images of one kind are an error before training.

    def batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return the rows of each step of an epoch, over all processes."""
        values, seed = self._config.hyperparameters, self._config.seed
        rows = rows_of_epoch(
            self._train_parts,
            shares=self._config.mix,
            num_rows=len(self._labels),
            seed=seed,
            epoch=epoch,
            balanced=self._labels if values.balance_classes else None,
        )
        if self.first_real is not None:
            rng = np.random.default_rng((_SPLIT_STREAM, seed, epoch))
            is_real = self.is_real(rows)
            return batches_of_groups(rows, is_real, num_batches=self.steps, rng=rng)
        return epoch_batches(
            rows,
            batch_size=values.batch_size,
            seed=seed,
            epoch=epoch,
            parts=self._parts,
            shuffle_buffer=self._config.shuffle_buffer,
        )

    def is_real(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which images are real; numbers may be those of repeats."""
        real: NDArray[np.bool_] = rows % len(self._labels) >= (self.first_real or 0)
        return real


def _first_real(data: Labelled, world_size: int) -> int:
    if world_size > 1:
        raise UserError(f"--split-bn: is for one process, this launch has {world_size}; start one")
    return len(data.labels) - data.sizes[-1]
