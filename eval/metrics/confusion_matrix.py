"""Confusion matrix and accuracy per class, as an `evaluate` metric.

Loaded by its path: `evaluate.load("eval/metrics/confusion_matrix.py")`, which needs no network.
"""

from typing import Any

import datasets

# evaluate reads this line to learn what the metric needs: it must stand alone.
import evaluate
import numpy as np

_DESCRIPTION = """
Counts of images by true label (rows) and predicted label (columns), each class's accuracy
(recall), and their mean.
"""

_INPUTS_DESCRIPTION = """
Args:
    predictions: For each image, the predicted label id, below `num_predicted`.
    references: For each image, the true label id, below `num_true`.
    num_true: Number of classes an image can have: the matrix's rows.
    num_predicted: Number of classes the model can name: the matrix's columns. Class i is the same
        in both.

Returns:
    `matrix`: num_true lists of num_predicted counts. `per_class`: accuracy of each true class in
    [0, 1], None for a class without images. `mean_per_class`: their mean over the classes that
    have images.
"""


class ConfusionMatrix(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Counts by true and predicted label."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(
        self,
        predictions: list[int],
        references: list[int],
        num_true: int,
        num_predicted: int,
    ) -> dict[str, Any]:
        matrix = np.zeros((num_true, num_predicted), dtype=np.int64)
        np.add.at(matrix, (np.asarray(references), np.asarray(predictions)), 1)
        totals = matrix.sum(axis=1).tolist()
        hits = matrix.diagonal().tolist()
        per_class = [
            hit / total if total else None for hit, total in zip(hits, totals, strict=True)
        ]
        known = [accuracy for accuracy in per_class if accuracy is not None]
        return {
            "matrix": matrix.tolist(),
            "per_class": per_class,
            "mean_per_class": sum(known) / len(known),
        }
