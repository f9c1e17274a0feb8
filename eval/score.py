"""Score trained models on real images; nothing is selected or trained here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval.checkpoint import Checkpoint, load_checkpoint
from eval.fit import make_transform, with_fit
from eval.kept_epochs import best_visit
from eval.labels import LabelMatch, match_real
from eval.measure import measure
from eval.predict import Predictions, predict
from eval.real import RealImages
from eval.scores_file import Labels, RealSet, Scores, Visit
from eval.scores_io import free_place, write_scores
from eval.scoring_mode import Scoring, order_of, require_fitting
from factory.common.console import log
from factory.common.devices import this_process
from factory.data.pixels import Fit

if TYPE_CHECKING:
    from accelerate import PartialState

    from factory.data.label_map import LabelMap

_LIBRARIES = ("accelerate", "datasets", "evaluate", "numpy", "pillow")


@dataclass(frozen=True)
class Scored:
    """Scores of one run on one real dataset.

    Attributes:
        scores: Content of the scores file.
        predictions: Class ids are positions in `scores.labels.names`.
        references: Shape (images,), int64: the true class ids, in the same order.
    """

    scores: Scores
    predictions: Predictions
    references: NDArray[np.int64]


def score(
    run: str | Path,
    real: RealImages,
    *,
    batch_size: int = 256,
    threads: int = 1,
    scoring: Scoring | None = None,
    labels: LabelMap | None = None,
    fit: Fit | None = None,
) -> Scored:
    """Score one run on a real dataset. All processes call this and get the same result.

    Args:
        run: Run folder, or a model's Hub id.
        real: From `open_real`.
        batch_size: Images per step and process.
        threads: CPU threads per process; rounding in float32 depends on their number.
        scoring: Standard by default.
        labels: Maps real labels to the model's classes.
        fit: For images that are not square; see `eval.fit.with_fit`.

    Raises:
        UserError: The run or an image cannot be read, or classes do not match.
    """
    run, scoring = str(run), scoring or Scoring()
    require_fitting(scoring, run=run, batch_size=batch_size, num_images=len(real.labels))
    state = this_process()
    set_precision(threads)
    checkpoint = load_checkpoint(run, scoring)
    checkpoint = replace(checkpoint, preprocessing=with_fit(checkpoint.preprocessing, fit))
    match = match_real(checkpoint.label_names, real, model=run, labels=labels)
    run_model = partial(
        _predict, checkpoint, real, match, scoring=scoring, batch_size=batch_size, state=state
    )
    references = references_of(match, real)
    visits: list[Visit] = []
    if scoring.best_on_test:
        checkpoint, predictions, visits = best_visit(
            checkpoint,
            predict=run_model,
            num_correct=lambda found: int((found.ranked[:, 0] == references).sum()),
        )
    else:
        predictions = run_model()
    return measured(
        predictions,
        real,
        match,
        settings=settings_of(state, batch_size=batch_size, threads=threads),
        library="timm",
        scoring=scoring.name,
        run=checkpoint.run,
        model=checkpoint.facts,
        training=checkpoint.training,
        visits=visits,
        preprocessing=checkpoint.preprocessing,
    )


def measured(
    predictions: Predictions,
    real: RealImages,
    match: LabelMatch,
    *,
    library: str,
    **facts: Any,
) -> Scored:
    """Measure predictions.

    Args:
        predictions: In the real dataset's order.
        real: The real dataset.
        match: The classes.
        library: Package of the model, whose version is recorded with the others.
        facts: The other fields of `Scores`.
    """
    references = references_of(match, real)
    scores = Scores(
        real=real_facts(real, predictions),
        labels=label_facts(match),
        metrics=measure(
            predictions, references, num_real=match.num_real, num_classes=len(match.names)
        ),
        versions={name: version(name) for name in ("torch", library, *_LIBRARIES)},
        **facts,
    )
    return Scored(scores=scores, predictions=predictions, references=references)


def _predict(
    checkpoint: Checkpoint,
    real: RealImages,
    match: LabelMatch,
    *,
    scoring: Scoring,
    batch_size: int,
    state: PartialState,
) -> Predictions:
    """Return the model's predictions for each real image, in the dataset's order."""
    order = order_of(len(real.labels), scoring)
    opened = real.opened if order is None else real.opened.keep(order.tolist())
    found = predict(
        checkpoint.model,
        opened,
        class_order=match.model_indices,
        transform=make_transform(checkpoint.preprocessing),
        batch_size=batch_size,
        state=state,
        wrap=scoring.batch_norm == "test-batch",
    )
    return found if order is None else found.put_back(order)


def set_precision(threads: int) -> None:
    """Fix settings that affect rounding in float32: threads, and TensorFloat-32 on GPUs."""
    import torch

    torch.set_num_threads(threads)
    # It would round convolutions on a GPU to 10 bits; scores are computed in float32.
    torch.backends.cudnn.allow_tf32 = False


def references_of(match: LabelMatch, real: RealImages) -> NDArray[np.int64]:
    """Return the true class of each real image as a position in `match.names`."""
    found = [match.real_indices[label] for label in real.labels.tolist()]
    return np.asarray(found, dtype=np.int64)


def label_facts(match: LabelMatch) -> Labels:
    """Return the classes for a scores file."""
    return Labels(
        names=match.names,
        num_real=match.num_real,
        matched=match.how,
        map=None if match.map is None else dict(match.map),
        merged=match.merged,
    )


def settings_of(state: PartialState, *, batch_size: int, threads: int) -> dict[str, Any]:
    """Return the settings for a scores file."""
    return {
        "batch_size": batch_size,
        "device": state.device.type,
        "dtype": "float32",
        "threads": threads,
    }


def real_facts(real: RealImages, predictions: Predictions) -> RealSet:
    """Return the real dataset's facts for a scores file."""
    opened = real.opened
    content = hashlib.sha256()
    for digest, label in zip(predictions.digests, real.labels.tolist(), strict=True):
        content.update(digest + opened.label_names[label].encode() + b"\n")
    return RealSet(
        name=real.name,
        reference=opened.reference,
        commit=opened.commit,
        config_name=opened.config_name,
        split=opened.named_split,
        row_filter=opened.row_filter,
        image_column=opened.image_column,
        label_column=opened.label_column,
        num_images=len(real.labels),
        unreadable=list(opened.unreadable),
        fingerprint=content.hexdigest(),
        class_counts=real.class_counts,
        left_out=opened.left_out,
    )


def write_apart(scores: Scores, path: Path) -> tuple[Scores, Path]:
    """Write a scores file without replacing those of other images with the same name; log it.

    Returns:
        The scores and the path as written.
    """
    scores, place = free_place(scores, path)
    if place != path:
        log(
            f"{path} has scores of other images with the same name; "
            f"these images are named {scores.real.name} (choose another name with --real-name NAME)"
        )
    write_scores(scores, place)
    log(f"wrote {place}")
    return scores, place
