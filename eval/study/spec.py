"""The format of a study: datasets, models, seeds and real images in a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from factory.common.console import log
from factory.common.errors import UserError
from factory.common.frozen import invalid_values
from factory.common.program import command
from factory.common.untrusted_files import read_yaml

ScoringName = Literal["test-batch", "dropout", "best-on-test", "as-code"]
Setting = Literal[
    "prompt",
    "guidance_scale",
    "guidance_interval",
    "num_inference_steps",
    "model",
    "noise",
    "output",
    "images",
]
"""Groups of recipe keys in which two rows can differ; see `eval.study.settings`."""
Count = Annotated[int, Field(ge=1)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{16,64}$")]
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


# Options that would override keys of the study, and its command line, unnoticed.
_KEYS = {
    "build": {
        "--model": "the study's `model`",
        "--images-per-class": "the dataset's `images_per_class`",
        "--set": "the dataset's or row's `set`",
    },
    "train": {
        "--preset": "the dataset's `preset`",
        "--epochs": "the study's `epochs`",
        "--keep-every": "the study's `keep_every`",
        "--model": "the study's `models`",
        "--seed": "the study's `seeds`",
        "--config": "the row's `recipe`",
        "--out": "chosen by the study",
    },
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Frozen):
    """Existing images: a directory or Hub id, and a selection of its rows.

    Attributes:
        labels: Map from their labels to class names of the recipes, if the two differ.
    """

    dataset: str
    config: str | None = None
    split: str | None = None
    filter: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    labels: dict[str, str] = {}

    def options(self, prefix: str = "") -> list[str]:
        """Return the options that choose its rows; `eval gap` has a prefix before their names."""
        found: list[str] = []
        for name in ("config", "split", "filter", "image_column", "label_column"):
            value = getattr(self, name)
            if value is not None:
                found += [f"--{prefix}{name.replace('_', '-')}", value]
        return found


class RowSpec(_Frozen):
    """A row of the table: one recipe, with changes.

    Attributes:
        recipe: Reference of the recipe; its last part names the dataset config.
        name: Name of the row; default: the config's.
        differs: Settings in which the row must differ from the base row; no others may differ.
        set: Changes of the recipe by key, as for `--set`.
        image_seeds: Base seeds of the images; override the dataset's.
    """

    recipe: str
    name: str | None = None
    differs: list[Setting] = []
    set: dict[str, Any] = {}
    image_seeds: Seeds | None = None

    @property
    def row(self) -> str:
        """Name in the table."""
        return self.name or self.config

    @property
    def config(self) -> str:
        """Name of the dataset config."""
        return row_of(self.recipe)


class Described(_Frozen):
    """The images and weights that a dataset's note is about; for others it is left out.

    Attributes:
        real: Start of the fingerprint of the test images, at least 16 characters.
        reference: Start of the pixel hash of the first reference run (`data.pixels_sha256`).
        generator: Start of the generator's revision.
    """

    real: Hash | None = None
    reference: Hash | None = None
    generator: Hash | None = None


class Comparison(_Frozen):
    """An additional pair of rows to compare.

    Attributes:
        row: The row whose score counts positive.
        to: The row that is subtracted.
        differs: Settings in which the two must differ; no others may differ.
    """

    row: str
    to: str
    differs: list[Setting]


def _as_rows(given: Any) -> Any:
    if not isinstance(given, list):
        return given
    return [{"recipe": one} if isinstance(one, str) else one for one in given]


class SetSpec(_Frozen):
    """The synthetic datasets for one real test set.

    Attributes:
        paper: Its column in the paper's Table 1, if it has one.
        recipes: Recipes, one per row of the table; the first is the base row of the comparisons.
        comparisons: Further pairs of rows to compare.
        images_per_class: For every config that is not a union.
        image_seeds: Base seeds; the images of each row are generated once with each.
        set: Changes of every recipe, by key.
        build: Further options of `factory build`.
        preset: Training preset; overrides the study's.
        train: Further options of `train`.
        real: Test images.
        known_classes_only: Whether to exclude test images of classes that the recipes lack.
        clip_prompts: Prompts of `eval clip`; default: CLIP's own.
        reference: Real images to train the reference row on; none of them is in `real`.
        note: Markdown above the dataset's tables: limits and conclusions. Values are filled in, see
            `eval.study.conclusions`.
        describes: The images and weights that the note and the study's `limits` are about.
    """

    paper: str | None = None
    recipes: Annotated[list[RowSpec], Field(min_length=1), BeforeValidator(_as_rows)]
    comparisons: list[Comparison] = []
    images_per_class: Count
    image_seeds: Seeds = [0]
    set: dict[str, Any] = {}
    build: list[str] = []
    preset: str | None = None
    train: list[str] = []
    real: Source | None = None
    known_classes_only: bool = False
    clip_prompts: list[str] = []
    reference: Source | None = None
    note: str = ""
    describes: Described = Described()

    @model_validator(mode="after")
    def _options_are_no_keys(self) -> SetSpec:
        for key, known in _KEYS.items():
            for word in getattr(self, key):
                option = word.partition("=")[0]
                if option in known:
                    raise ValueError(f"{key}: {option} is {known[option]}; use that instead")
        return self

    @property
    def rows(self) -> list[str]:
        """Names of the rows, in the order of the table."""
        return [one.row for one in self.recipes]

    def row(self, name: str) -> RowSpec:
        """Return a row by its name."""
        return next(one for one in self.recipes if one.row == name)

    def image_seeds_of(self, name: str) -> list[int]:
        """Return the base seeds of a row."""
        return self.row(name).image_seeds or self.image_seeds

    def all_comparisons(self) -> list[Comparison]:
        """Return every row against the base row, then the further pairs."""
        base = self.recipes[0].row
        own = [Comparison(row=r.row, to=base, differs=r.differs) for r in self.recipes[1:]]
        return own + self.comparisons


class StudySpec(_Frozen):
    """A study.

    Attributes:
        title: Title of the report.
        sets: Datasets by name.
        model: The generator: `--model` of `factory build`.
        set: Changes of every recipe of every dataset, by key.
        models: timm models to train.
        seeds: Training seeds.
        preset: Training preset.
        epochs: Number of epochs; overrides the preset's.
        keep_every: Interval of the epochs saved for `best-on-test`.
        scorings: Ways of scoring besides the standard one, for each dataset's first image seed.
        clip: CLIP models to score zero-shot beside the rows, by Hub id.
        features: Model or run whose features the gap is measured in; default: the first reference
            or base run.
        limits: Markdown: limits of the results, at the top of the report.
    """

    title: str
    sets: Annotated[dict[str, SetSpec], Field(min_length=1)]
    model: str | None = "embedded"
    set: dict[str, Any] = {}
    models: Annotated[list[str], Field(min_length=1)]
    seeds: Seeds
    preset: str = "quick"
    epochs: Count | None = None
    keep_every: Count = 5
    scorings: list[ScoringName] = []
    clip: list[str] = []
    features: str | None = None
    limits: str = ""

    @model_validator(mode="after")
    def _names_are_single(self) -> StudySpec:
        for name, one in self.sets.items():
            rows = one.rows
            twice = sorted({row for row in rows if rows.count(row) > 1})
            if twice:
                raise ValueError(f"sets.{name}: two rows are named {twice[0]}; give one a `name`")
            if one.reference and one.reference.labels:
                raise ValueError(
                    f"sets.{name}.reference: `labels` translates test images only; give these "
                    f"images the recipes' class names (`{command('label')}`)"
                )
            for row in one.recipes:
                extra = set(row.image_seeds or ()) - set(one.image_seeds)
                if extra or len(set(one.image_seeds)) < len(one.image_seeds):
                    raise ValueError(
                        f"sets.{name}: `image_seeds` of {row.row} must be distinct and among "
                        f"the dataset's {one.image_seeds}"
                    )
            for pair in one.all_comparisons():
                if {pair.row, pair.to} <= set(rows) and not (
                    set(one.image_seeds_of(pair.row)) & set(one.image_seeds_of(pair.to))
                ):
                    raise ValueError(
                        f"sets.{name}: {pair.row} and {pair.to} are compared, but have no common "
                        "value in `image_seeds`"
                    )
            for pair in one.comparisons:
                unknown = sorted({pair.row, pair.to} - set(rows))
                if unknown:
                    raise ValueError(
                        f"sets.{name}.comparisons: there is no row {unknown[0]}; it has "
                        f"{', '.join(rows)}"
                    )
        for key in ("models", "seeds"):
            values = getattr(self, key)
            if len(set(values)) != len(values):
                raise ValueError(f"{key}: values must be distinct, found {values}")
        return self


def row_of(recipe: str) -> str:
    """Return the config's name in a recipe's reference: its last part."""
    return Path(recipe).name.removesuffix(".yaml").removesuffix(".yml")


def read_study(path: Path, changes: Mapping[str, Any] | None = None) -> StudySpec:
    """Read a study.

    Args:
        path: YAML file.
        changes: Keys that override the file's, a dataset's own `preset` included; `sets` is merged
            by name and key.

    Raises:
        UserError: The file is missing or not YAML, or keys are invalid.
    """
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise UserError(f"{path}: contains {type(data).__name__}, expected a mapping")
    found = data.get("sets")
    sets: dict[str, Any] = found if isinstance(found, dict) else {}
    own = [one for one in sets.values() if isinstance(one, dict)]
    _rename_draws(own, path)
    if "preset" in (changes or {}):
        for one in own:
            one.pop("preset", None)
    for key, value in (changes or {}).items():
        if key == "sets" and sets:
            _change_sets(sets, value, path)
        else:
            data[key] = value
    try:
        return StudySpec.model_validate(data)
    except ValidationError as error:
        raise UserError(invalid_values(error, path)) from None


def _rename_draws(sets: list[dict[str, Any]], path: Path) -> None:
    """Replace the old name of `image_seeds` in datasets and rows, with a hint."""
    rows = [row for one in sets if isinstance(one.get("recipes"), list) for row in one["recipes"]]
    parts = [one for one in (*sets, *rows) if isinstance(one, dict)]
    old = [one for one in parts if "draws" in one and "image_seeds" not in one]
    for one in old:
        one["image_seeds"] = one.pop("draws")
    if old:
        log(f"{path}: draws is now called image_seeds")


def without_conclusions(spec: StudySpec, options: str) -> StudySpec:
    """Return a study without its texts, if options changed the results that they describe."""
    if not (spec.limits or any(one.note for one in spec.sets.values())):
        return spec
    limits = (
        f"Run with `{options}`, which differ from the study's own values: its limits and "
        "conclusions are omitted."
    )
    sets = {name: one.model_copy(update={"note": ""}) for name, one in spec.sets.items()}
    return spec.model_copy(update={"limits": limits, "sets": sets})


def _change_sets(
    sets: dict[str, Any], changes: Mapping[str, Mapping[str, Any]], path: Path
) -> None:
    for name, values in changes.items():
        if name not in sets:
            raise UserError(f"{path}: has no dataset {name!r}; it has: {', '.join(sets)}")
        sets[name] = {**(sets[name] or {}), **values}
