"""Standard scoring, and the scoring of the paper's released code.

Standard is the default: the model in eval mode, its weights selected without real images. The
released code leaves the model in training mode, so that batch norm uses the statistics of the test
batch and dropout is active, and it keeps the best of its evaluations on the real test set. Each of
these is an option; scores that use one are labelled in their file and in every table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from factory.common.errors import UserError

if TYPE_CHECKING:
    from torch import nn

STANDARD = "standard"
BatchNorm = Literal["eval", "test-batch"]


@dataclass(frozen=True)
class Scoring:
    """The options of one score.

    Attributes:
        batch_norm: Statistics of training, or of the test batch.
        dropout: Whether dropout and stochastic depth stay on.
        best_on_test: Whether the best kept epoch is reported, selected by the score itself.
    """

    batch_norm: BatchNorm = "eval"
    dropout: bool = False
    best_on_test: bool = False

    @property
    def name(self) -> str:
        """`standard`, or the list of departures from it, for files and tables."""
        return " + ".join(self._departures()) or STANDARD

    @property
    def slug(self) -> str:
        """The same for file names; empty for standard scoring."""
        return "-".join(self._departures()).replace(" ", "-")

    def _departures(self) -> list[str]:
        found = {
            "test-batch": self.batch_norm == "test-batch",
            "dropout": self.dropout,
            "best on test": self.best_on_test,
        }
        return [name for name, is_used in found.items() if is_used]


def set_modes(model: nn.Module, scoring: Scoring) -> None:
    """Set the modes of a model's layers; their statistics stay unchanged.

    Dropout follows the mode of the whole model, since many models apply it without a layer.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    model.train(scoring.dropout)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train(scoring.batch_norm == "test-batch")
            if module.training:
                # The batch determines its own output and changes no statistics.
                module.momentum = 0.0


def require_fitting(scoring: Scoring, *, run: str, batch_size: int, num_images: int) -> None:
    """Check that the options are valid for a dataset.

    Raises:
        UserError: Statistics of a batch with one image were requested.
    """
    if scoring.batch_norm == "test-batch" and min(batch_size, num_images) < 2:
        raise UserError(
            f"{run}: batch norm with the statistics of each test batch needs at least two images "
            "per batch; raise --batch-size, or score more images"
        )


def order_of(num_images: int, scoring: Scoring) -> Any | None:
    """Return the order in which images are scored, or None for the dataset's own.

    Datasets are often sorted by class; a batch of one class has other statistics than a mixed one.
    """
    import numpy as np

    if scoring.batch_norm == "eval":
        return None
    return np.random.default_rng(0).permutation(num_images)
