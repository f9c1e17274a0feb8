"""Scores trained models on real images. Nothing is chosen here: each model is measured as it is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval.checkpoint import Checkpoint, load_checkpoint
from eval.labels import LabelMatch, match_labels
from eval.predict import Predictions, predict, this_process
from eval.real import RealImages
from eval.scores import Labels, Metrics, RealSet, Scores
from factory.console import log

if TYPE_CHECKING:
    from accelerate import PartialState

_METRICS = Path(__file__).parent / "metrics"
_NUM_BINS = 15
_LIBRARIES = ("torch", "timm", "accelerate", "datasets", "evaluate", "numpy", "pillow")


@dataclass(frozen=True)
class Scored:
    """One run measured on one real set.

    Attributes:
        scores: What goes into the scores file.
        predictions: Class ids count `scores.labels.names`.
        references: Shape (images,), int64: the true class ids, in the same count.
    """

    scores: Scores
    predictions: Predictions
    references: NDArray[np.int64]


def score(
    run: str,
    real: RealImages,
    *,
    batch_size: int = 256,
    threads: int = 1,
) -> Scored:
    """Score one run on a real set. Under several processes each one calls this and gets the same.

    Args:
        run: Run folder, or a model's Hub id.
        real: From `open_real`.
        batch_size: Images a step on each process.
        threads: CPU threads of each process; float32 results move in the last digits with their
            number.

    Raises:
        UserError: The run or a picture cannot be read, or classes don't match.
    """
    import torch

    state = this_process()
    torch.set_num_threads(threads)
    # TensorFloat-32 would round convolutions on a GPU to 10 bits: scores are measured in float32.
    torch.backends.cudnn.allow_tf32 = False
    checkpoint = load_checkpoint(run)
    match = match_labels(
        checkpoint.label_names,
        real.opened.label_names,
        present=set(real.labels.tolist()),
        model=run,
        real=real.opened.reference,
    )
    predictions = predict(
        checkpoint.model,
        real.opened.dataset,
        image_column=real.opened.image_column,
        class_order=match.model_indices,
        preprocessing=checkpoint.preprocessing,
        batch_size=batch_size,
        state=state,
    )
    settings = _settings(state, batch_size=batch_size, threads=threads)
    return _assemble(checkpoint, real, match=match, predictions=predictions, settings=settings)


def _settings(state: PartialState, *, batch_size: int, threads: int) -> dict[str, Any]:
    return {
        "batch_size": batch_size,
        "device": state.device.type,
        "dtype": "float32",
        "threads": threads,
    }


def _assemble(
    checkpoint: Checkpoint,
    real: RealImages,
    *,
    match: LabelMatch,
    predictions: Predictions,
    settings: dict[str, Any],
) -> Scored:
    found = [match.real_indices[label] for label in real.labels.tolist()]
    references = np.asarray(found, dtype=np.int64)
    scores = Scores(
        run=checkpoint.run,
        model=checkpoint.facts,
        training=checkpoint.training,
        real=_real_facts(real, predictions),
        labels=Labels(names=match.names, num_real=match.num_real, matched=match.how),
        preprocessing=checkpoint.preprocessing,
        metrics=measure(
            predictions, references, num_real=match.num_real, num_classes=len(match.names)
        ),
        settings=settings,
        versions={name: version(name) for name in _LIBRARIES},
    )
    return Scored(scores=scores, predictions=predictions, references=references)


def _real_facts(real: RealImages, predictions: Predictions) -> RealSet:
    opened = real.opened
    content = hashlib.sha256()
    for digest, label in zip(predictions.digests, real.labels.tolist(), strict=True):
        content.update(digest + opened.label_names[label].encode() + b"\n")
    return RealSet(
        name=real.name,
        reference=opened.reference,
        commit=opened.commit,
        config_name=opened.config_name,
        split=opened.split,
        row_filter=real.row_filter,
        image_column=opened.image_column,
        label_column=opened.label_column,
        num_images=len(real.labels),
        fingerprint=content.hexdigest(),
    )


def load_metric(name: str) -> Any:
    """Load one of our `evaluate` metrics by its path, without network.

    `evaluate` copies the file into its module cache under a hash of its text, behind a lock:
    processes may load it at once, and a changed file is another module. Inputs stay in memory, so
    that no cache file is shared either.
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
    """Compute all figures.

    Args:
        predictions: Class ids below `num_classes`.
        references: Shape (images,): true class ids, below `num_real`.
        num_real: Classes of the real set; they come first.
        num_classes: Classes of the model.
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


def describe(scores: Scores) -> str:
    """Return the result as one line for the terminal."""
    metrics, real = scores.metrics, scores.real
    top5 = "" if metrics.top5 is None else f", top-5 {100 * metrics.top5:.2f} %"
    return (
        f"{scores.run} on {real.name} ({real.num_images:,} images): "
        f"top-1 {100 * metrics.top1:.2f} % "
        f"[{100 * metrics.top1_low:.2f}, {100 * metrics.top1_high:.2f}]{top5}, "
        f"calibration error {100 * metrics.calibration_error:.2f} %"
    )


def note_unmeasured(scores: Scores) -> None:
    """Say on stderr which of the model's classes have no real images, and if spellings differ."""
    labels = scores.labels
    extra = labels.names[labels.num_real :]
    if extra:
        log(
            f"{scores.run}: {len(extra)} of its {len(labels.names)} classes are not in "
            f"{scores.real.name} ({', '.join(extra[:5])}{', ...' if len(extra) > 5 else ''}); "
            "naming one of them counts as wrong"
        )
    if labels.matched == "spelling":
        log(
            f"{scores.run}: class names differ in spelling from {scores.real.name}; "
            "matched without regard to case, spaces, _ and -"
        )
