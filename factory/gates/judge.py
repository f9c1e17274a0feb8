"""A trained classifier as a gate: how sure it is of each image."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import UserError
from factory.data.columns import LABEL, RECIPE
from factory.gates.base import ConfigRows, image_of
from factory.shards.manifest import GateEntry
from factory.shards.parquet import Row

ENTROPY = "judge_entropy"
MARGIN = "judge_margin"
WEIGHTS = "judge_sha256"
"""Column with the hash of the weights of the classifier that measured the row."""
_COLUMNS = {ENTROPY: "float32", MARGIN: "float32", WEIGHTS: "string"}
Classify = Callable[[Sequence[Any]], NDArray[np.float64]]
"""From PIL images to probabilities, shape (images, classes), classes as in the dataset."""


class Judge:
    """Measures the uncertainty of a classifier that was trained on other images.

    Each row is measured once, by the classifier of the round that added it. Only the candidates of
    the current round are measured again if another classifier has measured them.
    """

    name = "judge"
    remembers = True
    """It gets all rows and measures those that lack its values."""

    def __init__(self, classify: Classify, *, model: str, revision: str) -> None:
        """Set the classifier.

        Args:
            classify: The classifier.
            model: Its name in the manifest.
            revision: SHA-256 of its weights.
        """
        self._classify, self._model, self._revision = classify, model, revision
        self._candidates = ""

    def choose_from(self, config: str) -> None:
        """Set the config of the candidates, which this classifier has to measure itself."""
        self._candidates = config

    def entry(self) -> GateEntry:
        """Return columns and classifier."""
        return GateEntry(
            columns=_COLUMNS,
            method="entropy of a classifier's probabilities (nats); probability of the image's "
            "class minus the highest other; weights of the row's classifier (model: the latest)",
            model=self._model,
            revision=self._revision,
        )

    def begin(self, config: str, rows: ConfigRows) -> None:
        """Keep nothing of other configs."""

    def measure(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return the columns of each row; of rows that need no measurement their values."""
        lacking = [self._lacks(row) for row in rows]
        new = iter(self._measured([row for row, lacks in zip(rows, lacking, strict=True) if lacks]))
        return [
            next(new) if lacks else {name: row[name] for name in _COLUMNS}
            for row, lacks in zip(rows, lacking, strict=True)
        ]

    def _lacks(self, row: Row) -> bool:
        by = row.get(WEIGHTS)
        return by is None or (by != self._revision and row[RECIPE] == self._candidates)

    def _measured(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        if not rows:
            return []
        found = self._classify([image_of(row) for row in rows])
        if not np.isfinite(found).all():
            raise UserError(
                f"--judge {self._model}: gives probabilities that are not finite numbers; train it "
                "again with a lower learning rate"
            )
        labels = [row[LABEL] for row in rows]
        values = zip(entropies(found).tolist(), margins(found, labels).tolist(), strict=True)
        return [
            {ENTROPY: entropy, MARGIN: margin, WEIGHTS: self._revision}
            for entropy, margin in values
        ]

    def notes(self) -> list[str]:
        """Return nothing: images are measured completely."""
        return []


def entropies(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropy of each image's probabilities in nats, shape (images,)."""
    logs = np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
    found: NDArray[np.float64] = -(probabilities * logs).sum(axis=1)
    return found


def margins(probabilities: NDArray[np.float64], labels: Sequence[int]) -> NDArray[np.float64]:
    """Return the probability of the own class minus the highest other one, shape (images,)."""
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    found: NDArray[np.float64] = own - others.max(axis=1)
    return found
