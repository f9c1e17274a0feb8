"""A trained classifier as a gate: how sure it is of each image."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.data.columns import LABEL
from factory.gates.base import ConfigRows, image_of
from factory.shards.manifest import GateEntry
from factory.shards.parquet import Row

ENTROPY = "judge_entropy"
MARGIN = "judge_margin"
Classify = Callable[[Sequence[Any]], NDArray[np.float64]]
"""From PIL images to probabilities, shape (images, classes), classes as in the dataset."""


class Judge:
    """Measures the uncertainty of a classifier that was trained on other images."""

    name = "judge"
    remembers = False

    def __init__(self, classify: Classify, *, model: str, revision: str) -> None:
        """Set the classifier.

        Args:
            classify: The classifier.
            model: Its name in the manifest.
            revision: SHA-256 of its weights.
        """
        self._classify, self._model, self._revision = classify, model, revision

    def entry(self) -> GateEntry:
        """Return columns and classifier."""
        return GateEntry(
            columns={ENTROPY: "float32", MARGIN: "float32"},
            method="entropy of a trained classifier's probabilities (nats); probability of the "
            "image's class minus the highest of another class",
            model=self._model,
            revision=self._revision,
        )

    def begin(self, config: str, rows: ConfigRows) -> None:
        """Keep nothing of other configs."""

    def measure(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return entropy and margin of each row's image."""
        found = self._classify([image_of(row) for row in rows])
        labels = [row[LABEL] for row in rows]
        values = zip(entropies(found).tolist(), margins(found, labels).tolist(), strict=True)
        return [{ENTROPY: entropy, MARGIN: margin} for entropy, margin in values]

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
