"""How a model is scored: as is standard, or with what the paper's released code does, named.

Standard is the default: the model in evaluation mode, its weights chosen without a look at real
images. The code leaves the model in training mode, so that batch norm takes its statistics from
the test batch and dropout stays on, and it keeps the best of its visits of the real test set. Each
of these is an option here; a score that uses one says so in its file and in every table.
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
        best_on_test: Whether the best of the kept epochs counts, chosen by the score itself.
    """

    batch_norm: BatchNorm = "eval"
    dropout: bool = False
    best_on_test: bool = False

    @property
    def name(self) -> str:
        """`standard`, or every departure from it, for files and tables."""
        return " + ".join(self._departures()) or STANDARD

    @property
    def slug(self) -> str:
        """The same for a file's name; empty when standard."""
        return "-".join(self._departures()).replace(" ", "-")

    def _departures(self) -> list[str]:
        found = {
            "test-batch": self.batch_norm == "test-batch",
            "dropout": self.dropout,
            "best on test": self.best_on_test,
        }
        return [name for name, is_used in found.items() if is_used]


def set_modes(model: nn.Module, scoring: Scoring) -> None:
    """Put a model's layers into the modes that `scoring` asks for; no statistics are changed.

    Dropout follows the whole model's mode, since many models apply it without a layer of its own.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    model.train(scoring.dropout)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.train(scoring.batch_norm == "test-batch")
            if module.training:
                # The batch decides its own output and leaves no trace.
                module.momentum = 0.0


def require_fitting(scoring: Scoring, *, run: str, batch_size: int, num_images: int) -> None:
    """See that the options make sense for a set.

    Raises:
        UserError: Statistics of a batch of one image were asked for.
    """
    if scoring.batch_norm == "test-batch" and min(batch_size, num_images) < 2:
        raise UserError(
            f"{run}: batch norm of the test batch needs two images a batch; raise --batch-size, "
            "or score more images"
        )


def order_of(num_images: int, scoring: Scoring) -> Any | None:
    """Return the order in which images are scored, or None for the set's own.

    Sets are often sorted by class; a batch of one class has other statistics than one of all.
    """
    import numpy as np

    if scoring.batch_norm == "eval":
        return None
    return np.random.default_rng(0).permutation(num_images)
