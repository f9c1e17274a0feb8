"""The rows of a run: trained on, held out, and in the order of each epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from train.config import RunConfig
from train.data import Labelled, check_batches, epoch_batches, num_batches
from train.mixing import check_mix, rows_of_epoch, split_each


class RunRows:
    """Row numbers, as functions of the run's seed.

    Attributes:
        train: Rows to train on.
        val: Rows held out.
        val_parts: Those of each dataset.
        steps: Steps of an epoch.
    """

    def __init__(self, data: Labelled, config: RunConfig, *, world_size: int) -> None:
        """Hold out rows.

        Raises:
            UserError: There are too few rows of either kind for the run's settings.
        """
        values = config.hyperparameters
        self._config, self._labels = config, data.labels
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
        return epoch_batches(rows, batch_size=values.batch_size, seed=seed, epoch=epoch)
