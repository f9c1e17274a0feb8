"""Compute all measures of a scores file with the `evaluate` metrics in `eval/metrics/`."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.predict import Predictions
from eval.scores_file import Metrics

_METRICS = Path(__file__).parent / "metrics"
_NUM_BINS = 15


def load_metric(name: str) -> Any:
    """Load one of our `evaluate` metrics by its path, without network.

    `evaluate` copies the file into its module cache under a hash of its text, with a lock: several
    processes may load it at the same time, and a changed file is another module. Inputs stay in
    memory, so that processes do not share cache files.
    """
    import evaluate

    return evaluate.load(str(_METRICS / f"{name}.py"), keep_in_memory=True)


def measure(
    predictions: Predictions,
    references: NDArray[np.int64],
    *,
    num_real: int,
    num_classes: int,
) -> Metrics:
    """Compute all measures.

    Args:
        predictions: Class ids below `num_classes`.
        references: Shape (images,): true class ids, below `num_real`.
        num_real: Number of classes of the real dataset; they come first.
        num_classes: Number of classes of the model.
    """
    first, truth = predictions.ranked[:, 0], references.tolist()
    ranked = predictions.ranked.tolist()
    top_k = load_metric("top_k_accuracy")
    top1 = top_k.compute(predictions=ranked, references=truth, k=1)
    top5 = None
    if num_classes > predictions.ranked.shape[1]:
        top5 = top_k.compute(predictions=ranked, references=truth, k=5)["accuracy"]
    confusion = load_metric("confusion_matrix").compute(
        predictions=first.tolist(),
        references=truth,
        num_true=num_real,
        num_predicted=num_classes,
    )
    calibration = load_metric("calibration_error").compute(
        predictions=predictions.probabilities[:, 0].tolist(),
        references=(first == references).astype(int).tolist(),
        num_bins=_NUM_BINS,
    )
    return Metrics(
        top1=top1["accuracy"],
        top1_low=top1["low"],
        top1_high=top1["high"],
        num_correct=top1["num_correct"],
        top5=top5,
        mean_per_class=confusion["mean_per_class"],
        per_class=confusion["per_class"],
        confusion_matrix=confusion["matrix"],
        **calibration,
    )
