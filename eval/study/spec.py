"""What a study is: sets, models, seeds, real images; read from a YAML file and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from factory.errors import Fault, UserError

ScoringName = Literal["test-batch", "dropout", "best-on-test", "as-code"]
Count = Annotated[int, Field(ge=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Frozen):
    """Images that exist already: a directory or Hub id, and which part of it."""

    dataset: str
    config: str | None = None
    split: str | None = None
    filter: str | None = None
    image_column: str | None = None
    label_column: str | None = None

    def options(self) -> list[str]:
        """Return the options that `train` and `eval score` take for it, without its name."""
        found: list[str] = []
        for name in ("config", "split", "filter", "image_column", "label_column"):
            value = getattr(self, name)
            if value is not None:
                found += [f"--{name.replace('_', '-')}", value]
        return found


class SetSpec(_Frozen):
    """The sets of one real data set.

    Attributes:
        paper: Its column in the paper's Table 1, if it has one.
        recipes: A row of the table each; the first is the base that the others are compared with.
        images_per_class: Of every set that does not say otherwise by being a union.
        build: Further options of `factory build`.
        train: Further options of `train`.
        real: What is scored on.
        reference: Real images to train the reference row on, none of those in `real`.
    """

    paper: str | None = None
    recipes: Annotated[list[str], Field(min_length=1)]
    images_per_class: Count
    build: list[str] = []
    train: list[str] = []
    real: Source | None = None
    reference: Source | None = None

    @property
    def rows(self) -> list[str]:
        """Names of the configs, in the order of the table."""
        return [row_of(recipe) for recipe in self.recipes]


class StudySpec(_Frozen):
    """A study.

    Attributes:
        title: Of the report.
        sets: By name.
        model: What draws: `--model` of `factory build`.
        models: timm models to train.
        seeds: Of training.
        preset: Of `train`.
        epochs: Instead of the preset's.
        keep_every: Epochs kept for `best-on-test`.
        scorings: What else than honest scores to measure.
        features: Model or run whose features tell sets apart; by default the first reference or
            base run.
        reasons: Markdown: which likely reasons were tested, and how. Printed with the measured
            figures.
    """

    title: str
    sets: Annotated[dict[str, SetSpec], Field(min_length=1)]
    model: str = "embedded"
    models: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    preset: str = "quick"
    epochs: Count | None = None
    keep_every: Count = 5
    scorings: list[ScoringName] = []
    features: str | None = None
    reasons: str = ""

    @model_validator(mode="after")
    def _names_are_single(self) -> StudySpec:
        for name, one in self.sets.items():
            rows = one.rows
            twice = sorted({row for row in rows if rows.count(row) > 1})
            if twice:
                raise ValueError(f"sets.{name}: two recipes would make the row {twice[0]}")
        for key in ("models", "seeds"):
            values = getattr(self, key)
            if len(set(values)) != len(values):
                raise ValueError(f"{key}: one of {values} stands there twice")
        return self


def row_of(recipe: str) -> str:
    """Return the config's name that a recipe's reference stands for: its last part."""
    return Path(recipe).name.removesuffix(".yaml").removesuffix(".yml")


def read_study(path: Path, changes: Mapping[str, Any] | None = None) -> StudySpec:
    """Read a study.

    Args:
        path: YAML file.
        changes: Keys that replace the file's, `sets` merged by name and key.

    Raises:
        UserError: No such file, no YAML, or keys that are not a study's.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; docs/study.yaml is one") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(Fault(" ".join(str(error).split()), file=str(path))) from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: holds {type(data).__name__}, not a mapping with title and sets")
    for key, value in (changes or {}).items():
        if key == "sets" and isinstance(data.get("sets"), dict):
            _change_sets(data["sets"], value, path)
        else:
            data[key] = value
    try:
        return StudySpec.model_validate(data)
    except ValidationError as error:
        raise UserError(
            Fault(
                problem["msg"].removeprefix("Value error, "),
                file=str(path),
                key=".".join(map(str, problem["loc"])) or None,
            )
            for problem in error.errors()
        ) from None


def _change_sets(
    sets: dict[str, Any], changes: Mapping[str, Mapping[str, Any]], path: Path
) -> None:
    for name, values in changes.items():
        if name not in sets:
            raise UserError(f"{path}: has no set {name!r}; it has: {', '.join(sets)}")
        sets[name] = {**(sets[name] or {}), **values}
