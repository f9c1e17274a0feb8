"""Fields of `scores-*.json`: measures, real dataset and settings of one scored model."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from eval.scoring_mode import STANDARD, BatchNorm, Scoring
from factory.common.frozen import first_invalid
from factory.common.scores_for_cards import Count, Name, Share
from factory.data.pixels import Fit

FORMAT: Literal["data-factory/scores"] = "data-factory/scores"
FORMAT_VERSION: Literal[1] = 1

_FORMERLY_STANDARD = "honest"
"""Name in files of earlier versions."""

MAX_SECONDS = 1e12
"""Longer times are no measurement; their sums could exceed any float."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_max_length=20_000)


class ModelFacts(_Part):
    """The checkpoint that was scored."""

    architecture: str = Field(description="timm's name of the architecture")
    num_classes: int = Field(description="outputs of the model")
    num_parameters: int
    weights_sha256: str = Field(description="of model.safetensors")
    commit: str | None = Field(default=None, description="of a model from the Hub")
    batch_norm: BatchNorm = Field(description="statistics of the training or of the test batch")
    dropout: bool = Field(default=False, description="whether it was active")
    selected_on: str | None = Field(description="data that selected the checkpoint, from its run")
    train_seconds: float | None = Field(
        default=None,
        ge=0,
        le=MAX_SECONDS,
        allow_inf_nan=False,
        description="time of all epochs, of the run's metrics.csv",
    )
    epochs_done: int | None = Field(default=None, description="by the run's metrics.csv")
    epochs_planned: int | None = Field(default=None, description="by the run's config.yaml")

    @property
    def unfinished(self) -> str | None:
        """Return the progress of an unfinished training; None if it is finished or unknown."""
        done, planned = self.epochs_done, self.epochs_planned
        if done is None or planned is None or done >= planned:
            return None
        return f"unfinished: {done} of {planned} epochs"


class ZeroShot(_Part):
    """A zero-shot model, which compares images with prompts instead of being trained."""

    model: str = Field(description="Hub id or directory")
    revision: str = Field(description="commit, or hash of the files of a directory")
    prompts: str = Field(description="name of the prompts; part of the table's row")
    templates: list[str] = Field(description="averaged, `{class}` stands for the wording")
    wordings: list[str] = Field(description="of the classes, in the order of `labels.names`")
    cut: int = Field(default=0, description="texts that exceed the token limit")


class Visit(_Part):
    """Score of one saved epoch on the real images, if these selected the best epoch."""

    epoch: Count
    top1: Share


class Preprocessing(_Part):
    """Preprocessing of images: timm's evaluation transform of the model's config."""

    input_size: tuple[int, int, int] = Field(description="channels, height, width in pixels")
    interpolation: str
    crop_pct: float
    crop_mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: Fit | None = Field(
        default=None, description="of images that are not square; null: from crop_mode"
    )


class RealSet(_Part):
    """The real images."""

    name: str = Field(description="short name: column of the table, part of the file's name")
    reference: str
    commit: str | None = Field(None, description="of a Hub dataset")
    config_name: str | None
    split: str | None
    row_filter: str | None
    image_column: str
    label_column: str
    num_images: Count
    class_counts: dict[str, int] | None = Field(default=None, description="images of each class")
    left_out: dict[str, int] = Field(
        default={}, description="files of an image folder that were not read, by suffix"
    )
    unreadable: list[str] = Field(
        default=[],
        description="images skipped by --skip-unreadable: row, file, reason",
    )
    fingerprint: str = Field(
        description="sha256 over the images' hashes and label names, in order; see "
        "`factory.common.row_images.read_hashed`"
    )


class Labels(_Part):
    """Class order of `per_class` and `confusion_matrix`, and how classes were matched."""

    names: list[str] = Field(
        description="classes of the real dataset, then those only the model has"
    )
    num_real: int = Field(description="number of classes of the real dataset")
    matched: Literal["exact", "spelling", "synonym", "map"] = Field(
        description="by which rule; with a map the labels it lacks were matched without it"
    )
    map: dict[str, str] | None = Field(
        default=None, description="the label map: real label -> class of the model"
    )
    merged: list[list[str]] = Field(default=[], description="real labels that count as one class")

    @model_validator(mode="after")
    def _map_is_there(self) -> Labels:
        if (self.matched == "map") != (self.map is not None):
            raise ValueError(
                "`map` must be given if and only if `matched` is 'map'; found matched "
                f"{self.matched!r} and map {self.map!r}"
            )
        return self


class Metrics(_Part):
    """The measures, as fractions in [0, 1]."""

    top1: Share
    top1_low: Share = Field(description="lower end of the 95 % Wilson interval")
    top1_high: Share = Field(description="upper end of the 95 % Wilson interval")
    num_correct: Count
    top5: Share | None = Field(description="null with five classes or fewer")
    mean_per_class: Share
    per_class: list[Share | None] = Field(
        description="of the real dataset's classes, in the order of `labels.names`; null: no images"
    )
    confusion_matrix: list[list[Count]] = Field(
        description="rows: true class (real dataset), columns: predicted class"
    )
    calibration_error: Share = Field(description="expected calibration error, 15 bins")
    mean_confidence: Share


class _MixedSource(BaseModel):
    config_name: Name | None = None
    reference: Name | None = None
    real: bool = False
    num_images: Count | None = None


class _TrainingData(BaseModel):
    config_name: Name | None = None
    reference: Name | None = None
    num_images: Count | None = None
    sources: list[_MixedSource] = []
    sampling: dict[str, dict[str, Any]] | None = None


class _Environment(BaseModel):
    versions: dict[str, str] = {}


class _Training(BaseModel):
    """Fields of a run's config.yaml that tables use."""

    data: _TrainingData | None = None
    mix: list[Share] | None = None
    environments: list[_Environment] | None = None


class Scores(_Part):
    """Scores of one run on one real dataset."""

    format: Literal["data-factory/scores"] = FORMAT
    format_version: Literal[1] = FORMAT_VERSION
    scoring: str = Field(default=STANDARD, description="standard, or how it departs from that")
    run: str = Field(description="folder or Hub id that was scored, as given")
    model: ModelFacts
    training: dict[str, Any] | None = Field(
        description="the run's config.yaml, null if it has none"
    )
    zero_shot: ZeroShot | None = None
    visits: list[Visit] = Field(
        default=[], description="saved epochs of which the best was selected"
    )
    real: RealSet
    labels: Labels
    preprocessing: Preprocessing
    metrics: Metrics
    settings: dict[str, Any] = Field(description="batch size, device, dtype, threads per process")
    versions: dict[str, str]

    @field_validator("scoring")
    @classmethod
    def _as_it_is_called_now(cls, scoring: str) -> str:
        return STANDARD if scoring == _FORMERLY_STANDARD else scoring

    @model_validator(mode="after")
    def _named_as_measured(self) -> Scores:
        model = self.model
        measured = Scoring(model.batch_norm, model.dropout, bool(self.visits)).name
        if self.scoring != measured:
            raise ValueError(
                f"scoring is {self.scoring!r}, but batch_norm, dropout and visits are those of "
                f"{measured!r}"
            )
        return self

    @model_validator(mode="after")
    def _of_one_length(self) -> Scores:
        real, classes, metrics = self.labels.num_real, len(self.labels.names), self.metrics
        rows = metrics.confusion_matrix
        if real > classes:
            raise ValueError(
                f"labels.num_real is {real}, but labels.names has only {classes} names"
            )
        if len(metrics.per_class) != real:
            raise ValueError(
                f"per_class has {len(metrics.per_class)} values; expected one for each of {real} "
                "classes"
            )
        if len(rows) != real or any(len(row) != classes for row in rows):
            raise ValueError(f"confusion_matrix must have {real} rows and {classes} columns")
        if metrics.num_correct > self.real.num_images:
            raise ValueError("num_correct is larger than the number of images")
        return self

    @field_validator("training")
    @classmethod
    def _as_a_run_writes_it(cls, training: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            _Training.model_validate(training or {})
        except ValidationError as error:
            raise ValueError(first_invalid(error)) from None
        return training
