"""Top-k accuracy with a confidence interval, as an `evaluate` metric.

Loaded by its path: `evaluate.load("eval/metrics/top_k_accuracy.py")`, which needs no network.
"""

import math
from statistics import NormalDist
from typing import Any

import datasets

# evaluate reads this line to learn what the metric needs: it must stand alone.
import evaluate

_DESCRIPTION = """
The share of images whose true label is among the k labels the model ranks first, with the Wilson
score interval (E. B. Wilson, JASA 22, 1927), which stays inside [0, 1] and holds near 0 and 1
where the normal one does not.
"""

_INPUTS_DESCRIPTION = """
Args:
    predictions: For each image, label ids from the most to the least likely; at least k of them.
    references: For each image, the true label id.
    k: How many of the first labels count.
    confidence: Coverage of the interval, 0.95 for 95 %.

Returns:
    `accuracy`, `low` and `high` (the interval's ends) in [0, 1], `num_correct`, `num_images`.
"""


def wilson_interval(num_correct: int, *, num_images: int, confidence: float) -> tuple[float, float]:
    """Return the ends of the Wilson score interval of a share, in [0, 1]."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = num_correct / num_images
    scale = 1 + z * z / num_images
    centre = share + z * z / (2 * num_images)
    margin = z * math.sqrt(share * (1 - share) / num_images + z * z / (4 * num_images**2))
    # Rounding alone can push the ends of 0 % and 100 % a hair past the limits.
    return max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale)


class TopKAccuracy(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Share of images whose label is among the first k predictions."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("int64")),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(
        self,
        predictions: list[list[int]],
        references: list[int],
        k: int = 1,
        confidence: float = 0.95,
    ) -> dict[str, Any]:
        pairs = list(zip(predictions, references, strict=True))
        num_correct = sum(label in ranked[:k] for ranked, label in pairs)
        low, high = wilson_interval(num_correct, num_images=len(pairs), confidence=confidence)
        return {
            "accuracy": num_correct / len(pairs),
            "low": low,
            "high": high,
            "num_correct": num_correct,
            "num_images": len(pairs),
        }
