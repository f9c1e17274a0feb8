"""Choose the probability below which an answer is rejected as "none of these classes".

The threshold is chosen on the training images that the run held out for validation. All of them
show a class of the model, so they do not measure how often photos of other things are rejected.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from eval.classifier import Answer, Classifier
from eval.photos import Photo, row_photos
from factory.common.console import log
from factory.common.errors import UserError
from factory.common.frozen import first_invalid
from factory.common.row_options import row_options
from factory.data.open import OpenedDataset, open_dataset
from factory.data.pixels import Fit, border_colour, decode_images, labelled_sha256
from factory.data.readable import only_readable
from factory.data.row_counts import class_counts, counts_line
from factory.data.row_subsets import DataSource, check_labels, hold_out, take_per_class
from factory.data.sampling_record import HeldOutKind, held_out_kind

SHARE = 0.05
"""Of the correctly labelled held-out images that are rejected."""
_LEAST = 20
_DIGITS = 1_000_000
_CHUNK = 4096
_Share = Annotated[float, Field(ge=0, le=1)]


class _Data(DataSource, extra="ignore"):
    """The training rows, as this version or a later one records them."""


class _Values(BaseModel):
    image_size: int = Field(ge=4, le=4096)
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    # Versions without the option squashed.
    fit: Fit = "squash"
    mean: tuple[_Share, _Share, _Share] = (0.0, 0.0, 0.0)
    val_fraction: float = Field(ge=0, le=0.9)
    val_images: int | None = Field(default=None, ge=1)


class _Training(BaseModel):
    """Fields of a run's `config.yaml` that determine its held-out images."""

    seed: int = Field(ge=0)
    pixels: str = "memory"
    data: _Data
    hyperparameters: _Values


@dataclass(frozen=True)
class Rejection:
    """A chosen threshold, and the share of the held-out images that it rejects.

    Attributes:
        threshold: Answers with a smaller probability are rejected.
        data: The dataset, as the user named it.
        images: Number of held-out images.
        rejected: Number of held-out images that are rejected.
        correct: Number of held-out images that the model labels correctly.
        correct_rejected: Number of correctly labelled images that are rejected.
        kind: What to call the held-out images.
    """

    threshold: float
    data: str
    images: int
    rejected: int
    correct: int
    correct_rejected: int
    kind: HeldOutKind

    def __str__(self) -> str:
        return (
            f"threshold {self.threshold}, chosen on the {self.images:,} {self.kind} images that "
            f"the run held out of {self.data}: of the {self.correct:,} that the model labels "
            f"correctly it rejects {_percent(self.correct_rejected, self.correct)}, of all "
            f"{_percent(self.rejected, self.images)} (false-alarm rate, measured on "
            f"{self.kind} images; on {'photos' if self.kind == 'synthetic' else 'other photos'} it "
            "can differ)"
        )

    def to_json(self) -> dict[str, Any]:
        """Return all figures, with shares in 0 to 1."""
        return {
            **{name: value for name, value in asdict(self).items() if name != "kind"},
            "measured_on": f"held-out {self.kind} images",
            "correct_rejected_share": self.correct_rejected / self.correct,
            "false_alarm_rate": self.rejected / self.images,
        }


def chosen_threshold(
    classifier: Classifier,
    wanted: float | str | None,
    data: str | None,
    *,
    batch_size: int | None = None,
) -> tuple[float | None, Rejection | None]:
    """Return the threshold of `--threshold`, and how it was chosen if it was.

    Args:
        classifier: The model.
        wanted: A probability; None; or `auto`, which chooses one, or takes that of an ONNX file.
        data: The run's training data, for `auto`; None: as the run names it, if it is a directory
            or file on this machine.
        batch_size: As for `Classifier.classify`.

    Raises:
        UserError: As `choose_rejection`; or an ONNX file has no threshold.
    """
    checkpoint = classifier.checkpoint
    if not isinstance(wanted, str):
        return wanted, None
    if not checkpoint.is_onnx:
        rejection = choose_rejection(classifier, data, batch_size=batch_size, shows=True)
        return rejection.threshold, rejection
    if data is not None:
        raise UserError(f"--data {data}: the threshold of an ONNX file is in the file; omit it")
    if checkpoint.threshold is None:
        raise UserError(
            f'{checkpoint.run}: contains no threshold for "none of these"; export the run again '
            "with --threshold auto, or give --threshold P"
        )
    log(f"{checkpoint.run}: threshold {checkpoint.threshold:g}, stored in the file")
    return checkpoint.threshold, None


def choose_rejection(
    classifier: Classifier, data: str | None, *, batch_size: int | None = None, shows: bool = False
) -> Rejection:
    """Choose the threshold that rejects 5 % of the correctly labelled held-out images.

    Raises:
        UserError: The run held out no images, its training data is not found or differs, or the
            model labels too few held-out images correctly.
    """
    run = classifier.checkpoint.run
    training = _training_of(classifier)
    data = data or _recorded_data(classifier, training)
    held, labels = _held_out(classifier, training, data)
    answers, faults = classifier.classify(held, top_k=1, batch_size=batch_size, shows=shows)
    if faults:
        raise faults[0][1]
    kind = held_out_kind(training.data.model_dump())
    return _choose(answers, labels, data=data, run=run, kind=kind)


def _recorded_data(classifier: Classifier, training: _Training) -> str:
    """Return the training data as a run names it, if this opens nothing outside this machine."""
    run, reference = classifier.checkpoint.run, training.data.reference
    from_hub = classifier.checkpoint.facts.commit is not None
    if from_hub or "://" in reference or not Path(reference).exists():
        raise UserError(
            f"--threshold auto needs the training data of {run}; name it with --data (the run was "
            f"trained on {reference})"
        )
    log(f"{run}: trained on {reference}, which is read again for --threshold auto")
    return reference


def _choose(
    answers: list[Answer], labels: list[str], *, data: str, run: str, kind: HeldOutKind
) -> Rejection:
    found = np.asarray([answer.confidence for answer in answers])
    is_correct = np.asarray(
        [answer.classes[0][0] == label for answer, label in zip(answers, labels, strict=True)]
    )
    correct = np.sort(found[is_correct])
    if len(correct) < _LEAST:
        raise UserError(
            f"{run}: labels only {len(correct)} of {len(found)} held-out images correctly; "
            f"choosing a threshold needs {_LEAST}; give a number instead of auto: --threshold P"
        )
    threshold = float(correct[int(SHARE * len(correct))])
    rounded = math.floor(threshold * _DIGITS) / _DIGITS
    # A model that is sure of everything needs more digits.
    if (correct < rounded).sum() == (correct < threshold).sum():
        threshold = rounded
    return Rejection(
        threshold=threshold,
        data=data,
        images=len(found),
        rejected=int((found < threshold).sum()),
        correct=len(correct),
        correct_rejected=int((correct < threshold).sum()),
        kind=kind,
    )


def _training_of(classifier: Classifier) -> _Training:
    checkpoint = classifier.checkpoint
    if checkpoint.training is None:
        raise UserError(
            f"{checkpoint.run}: contains no config.yaml written by `train`, so the held-out images "
            "are unknown; give a number instead of auto: --threshold P"
        )
    try:
        training = _Training.model_validate(checkpoint.training)
    except ValidationError as error:
        raise UserError(
            f"{checkpoint.run}: config.yaml cannot be used to find the held-out images "
            f"({first_invalid(error)}); give a number instead of auto: --threshold P"
        ) from None
    if training.data.sources:
        raise UserError(
            f"{checkpoint.run}: was trained on several datasets; --threshold auto finds the "
            "held-out images of one alone: give --threshold P"
        )
    if training.pixels != "memory":
        raise UserError(
            f"{checkpoint.run}: read its images from files, and --threshold auto needs the hash of "
            "their pixels, which it did not record: give --threshold P"
        )
    values = training.hyperparameters
    if not values.val_fraction and values.val_images is None:
        raise UserError(
            f"{checkpoint.run}: the run held out no images (val_fraction 0), and the threshold is "
            "chosen on held-out images; give a number instead of auto: --threshold P"
        )
    return training


def _held_out(
    classifier: Classifier, training: _Training, data: str
) -> tuple[list[Photo], list[str]]:
    """Return the images that a run held out, and the names of their classes."""
    opened = _open_training_data(training, data)
    labels = check_labels(opened)
    names = opened.label_names
    if (
        names != classifier.checkpoint.label_names
        or labelled_sha256(labels, _pixels(opened, training.hyperparameters))
        != training.data.pixels_sha256
    ):
        raise UserError(
            f"{data}: contains other images than the training data of "
            f"{classifier.checkpoint.run}; name the dataset and revision that it was trained on "
            f"with --data: {training.data.reference}"
        )
    values = training.hyperparameters
    _, held = hold_out(
        labels, fraction=values.val_fraction, seed=training.seed, count=values.val_images
    )
    counts = class_counts(labels.tolist(), names)
    log(f"{counts_line(opened.shown, counts, opened.left_out)}; {len(held):,} held out")
    photos = row_photos(opened, name=data, chosen=held.tolist())
    return photos, [names[label] for label in labels[held].tolist()]


def _open_training_data(training: _Training, data: str) -> OpenedDataset:
    wanted = training.data
    # They were given to the training, not to this command.
    with row_options("train --{}"):
        opened = open_dataset(
            data,
            config_name=wanted.config_name,
            split=wanted.split,
            row_filter=wanted.row_filter,
            image_column=wanted.image_column,
            label_column=wanted.label_column,
            # Files that the run left out too; its hash shows whether they are the same.
            skip_unreadable=True,
        )
    if wanted.num_unreadable:
        opened = only_readable(opened)
    if wanted.images_per_class is not None:
        opened = take_per_class(opened, count=wanted.images_per_class, seed=training.seed)
    return opened


def _pixels(opened: OpenedDataset, values: _Values) -> Iterator[NDArray[np.uint8]]:
    """Yield the images as the run decoded them, in parts."""
    rows = opened.dataset
    for start in range(0, len(rows), _CHUNK):
        part = range(start, min(start + _CHUNK, len(rows)))
        yield decode_images(
            rows.select(part),
            image_column=opened.image_column,
            image_folder=opened.image_folder,
            row_numbers=(opened.row_numbers or range(len(rows)))[part.start : part.stop],
            height=values.image_size,
            width=values.image_size,
            resample=values.resample,
            fit=values.fit,
            colour=border_colour(values.mean),
        )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"
