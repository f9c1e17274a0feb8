"""Find wrong labels with cleanlab, from probabilities of classifiers that did not see the image.

The images of a config are divided into five folds. A logistic regression on the embeddings of four
folds gives the probabilities of the fifth. cleanlab computes from them how likely each label is,
and which labels are probably wrong (confident learning: Northcutt et al., 2021).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import UserError
from factory.gates.base import ConfigRows
from factory.gates.embeddings import Embeddings, Vectors
from factory.gates.run import finished_manifest, labels_of_configs
from factory.shards.manifest import GateEntry
from factory.shards.parquet import Row

FLAG = "label_issue"
QUALITY = "label_quality"
FOLDS = 5
_STEPS = 1000
INSTALL = 'pip install "data-factory[quality]"'
Probabilities = NDArray[np.float64]
"""Shape (images, classes); each row has the sum 1."""


class LabelIssues:
    """Flags images whose label is probably wrong."""

    name = "label_issues"
    remembers = True

    def __init__(self, embeddings: Embeddings) -> None:
        """Set the model; `require_cleanlab` and `require_classes` are called before.

        Args:
            embeddings: The model.
        """
        self._embeddings = embeddings
        self._unfinished: list[str] = []

    def entry(self) -> GateEntry:
        """Return columns and model."""
        return GateEntry(
            columns={FLAG: "bool", QUALITY: "float32"},
            method="cleanlab (self-confidence; prune by noise rate) on probabilities of a logistic "
            f"regression on {self._embeddings.method}, cross-validated with {FOLDS} folds",
            model=self._embeddings.model,
            revision=self._embeddings.revision,
        )

    def begin(self, config: str, rows: ConfigRows) -> None:
        """Measure the images of a config."""
        self._embeddings.read(config, rows)
        labels = self._embeddings.labels
        probabilities, is_finished = out_of_sample(self._embeddings.vectors, labels)
        if not is_finished:
            self._unfinished.append(config)
        issues, quality = label_issues(labels, probabilities)
        self._values = [
            {FLAG: issue, QUALITY: value}
            for issue, value in zip(issues.tolist(), quality.tolist(), strict=True)
        ]
        self._place = 0

    def measure(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return whether each row's label is probably wrong, and its quality."""
        found = self._values[self._place : self._place + len(rows)]
        self._place += len(rows)
        return found

    def notes(self) -> list[str]:
        """Return the configs whose classifiers did not converge."""
        return [
            f"{name}: a logistic regression did not converge in {_STEPS} steps, so {QUALITY} is "
            "less certain"
            for name in self._unfinished
        ]


def require_cleanlab() -> None:
    """Check that cleanlab is installed.

    Raises:
        UserError: It is not.
    """
    if find_spec("cleanlab") is None:
        raise UserError(f"--label-issues needs the package cleanlab: {INSTALL}")


def require_classes(out: Path) -> None:
    """Check that every config of a finished dataset has two classes, and two images of each.

    Raises:
        UserError: A config has not.
    """
    names = finished_manifest(out).labels
    for config, labels in labels_of_configs(out).items():
        numbers, counts = np.unique(labels, return_counts=True)
        if len(numbers) < 2:
            raise UserError(f"--label-issues: {config} has a single class; it needs two")
        if counts.min() < 2:
            raise UserError(
                f"--label-issues: class {names[numbers[counts.argmin()]]} of {config} has a "
                "single image; it needs two per class"
            )


def out_of_sample(vectors: Vectors, labels: NDArray[np.int64]) -> tuple[Probabilities, bool]:
    """Return probabilities of each image from classifiers that were trained on other images.

    Args:
        vectors: Embeddings, shape (images, D).
        labels: Shape (images,); each class has at least two images.

    Returns:
        Probabilities of the classes that occur, ascending, and whether all classifiers converged.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    numbers, counts = np.unique(labels, return_counts=True)
    found = np.empty((len(labels), len(numbers)))
    is_finished = True
    folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=0)
    for train, test in folds.split(labels, labels):
        classifier = LogisticRegression(max_iter=_STEPS)
        pipeline = make_pipeline(StandardScaler(), classifier)
        # Its advice is to scale the data, which is done; the number of steps says the rest.
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            pipeline.fit(vectors[train], labels[train])
        is_finished &= bool(classifier.n_iter_.max() < _STEPS)
        found[test] = pipeline.predict_proba(vectors[test])
    return found, is_finished


def label_issues(
    labels: NDArray[np.int64], probabilities: Probabilities
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return cleanlab's issues and quality scores.

    Args:
        labels: Shape (images,).
        probabilities: Of the classes that occur in `labels`, ascending.

    Returns:
        Whether each label is probably wrong, and its quality, 0 to 1; shape (images,) each.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    # cleanlab expects classes 0 to K - 1, all of which occur.
    given = np.unique(labels, return_inverse=True)[1]
    issues = find_label_issues(given, probabilities, n_jobs=1)
    return issues, get_label_quality_scores(given, probabilities)
