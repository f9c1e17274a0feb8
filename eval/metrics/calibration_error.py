"""Expected calibration error, as an `evaluate` metric.

Loaded by its path: `evaluate.load("eval/metrics/calibration_error.py")`, which needs no network.
"""

from typing import Any

import datasets

# evaluate reads this line to learn what the metric needs: it must stand alone.
import evaluate
import numpy as np

_DESCRIPTION = """
How far the model's confidence is from its accuracy: the mean over equally wide bins of confidence
of |accuracy - mean confidence|, weighted by the images in each bin (Guo et al., ICML 2017).
"""

_INPUTS_DESCRIPTION = """
Args:
    predictions: For each image, the probability of the predicted label, in [0, 1].
    references: For each image, 1 if the predicted label is the true one, else 0.
    num_bins: Number of equally wide bins; a confidence on an edge counts in the lower bin.

Returns:
    `calibration_error` and `mean_confidence`, both in [0, 1].
"""


class CalibrationError(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Distance between confidence and accuracy."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(
        self, predictions: list[float], references: list[int], num_bins: int = 15
    ) -> dict[str, Any]:
        confidence = np.asarray(predictions, dtype=np.float64)
        correct = np.asarray(references, dtype=np.float64)
        bins = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
        gaps = np.abs(
            np.bincount(bins, weights=correct - confidence, minlength=num_bins)
        )  # images in the bin x (accuracy - confidence)
        return {
            "calibration_error": float(gaps.sum() / confidence.size),
            "mean_confidence": float(confidence.mean()),
        }
