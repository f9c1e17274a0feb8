"""The format of a recipe file: pydantic models of the YAML, and the source of its JSON schema.

A file merged with its parents is validated as `RecipeFile`; `factory.recipe.validate` turns it into
a `factory.recipe.resolved.ResolvedRecipe`.
"""

import json
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    field_validator,
)

from factory.common.errors import UserError
from factory.common.frozen import Frozen
from factory.common.text import cut
from factory.distributions.base import Number, Weight
from factory.distributions.discrete import Constant
from factory.distributions.scalar import AnyDistribution
from factory.distributions.variables import Quantity, Variable
from factory.models.inference import GuidanceInterval
from factory.recipe.row_ranges import RowRanges

Text = Annotated[str, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=1, le=10**12)]
Pixels = Annotated[int, Field(strict=True, ge=1, le=16384)]
Flag = Annotated[bool, Field(strict=True)]
Resample = Literal["nearest", "bilinear", "bicubic", "lanczos", "area"]
Format = Literal["png", "jpeg", "webp"]

LANCZOS_VERSION: Final = 2
"""Increment this version when `resample: lanczos` gives other pixels; it is in the fingerprints."""

# Whether an interpolation filters before shrinking; the others follow `antialias`.
_FILTERS = {"nearest": False, "lanczos": True, "area": True}


class WeightedText(Frozen):
    """One of several prompts."""

    text: Text = Field(description="A prompt; {name} is a variable, {class} the class.")
    weight: Weight = Field(default=1.0, description="Relative weight of the prompt.")


class ClassEntry(Frozen):
    """A class: its label in the dataset, its text in prompts, and its own fields.

    Every other key is a field: a variable of this class.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, AnyDistribution] = Field(init=False)

    label: Text = Field(min_length=1, description="Name in the dataset; the value of {label}.")
    prompt: AnyDistribution = Field(
        default=Constant(""),
        description="Value of {class}; default: the label with spaces for '_'.",
    )

    @property
    def fields(self) -> dict[str, AnyDistribution]:
        """The class's own variables, by name."""
        return dict(self.__pydantic_extra__ or {})


def _interval(given: Any) -> GuidanceInterval | None:
    """Read [START, STOP], or the text `START,STOP`, as for the option of `build`."""
    if given is None or isinstance(given, GuidanceInterval):
        return given
    listed = given if isinstance(given, list | tuple) else []
    try:
        if isinstance(given, str):
            return GuidanceInterval.parse(given)
        # Compared first: text of a huge number would take long.
        if len(listed) == 2 and all(type(one) in (int, float) and 0 <= one <= 1 for one in listed):
            return GuidanceInterval.of(*listed)
    except UserError:
        pass
    raise ValueError(
        "expected [START, STOP], fractions of the steps with 0 <= START < STOP <= 1 and at most 9 "
        f"decimals, such as [0.2, 1]; found {cut(json.dumps(given, default=str), 60)}"
    )


def _interval_numbers(interval: GuidanceInterval | None) -> list[float] | None:
    return interval.numbers if interval else None


_Fraction = Annotated[float, Field(ge=0, le=1)]


class Sampling(Frozen):
    """Sampling parameters of each image."""

    guidance_scale: Quantity = Field(
        default=Constant(7.5),
        description="Guidance scale: lower is more diverse, higher follows the prompt more "
        "closely; 1 is no guidance; auto is the model's own.",
    )
    num_inference_steps: Quantity = Field(
        default=Constant(50),
        description="Number of denoising steps, integers; auto is the model's own.",
    )
    guidance_interval: Annotated[
        GuidanceInterval | None,
        PlainValidator(_interval, json_schema_input_type=tuple[_Fraction, _Fraction] | None),
        PlainSerializer(_interval_numbers, return_type=Any),
    ] = Field(
        default=None,
        description="Guided part of the steps, two fractions: [0.2, 1] leaves the first fifth of "
        "the steps without guidance; default: all steps.",
    )
    seed: Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)] = Field(
        default=0, description="Base seed of all random values."
    )
    noise: Literal["independent", "shared"] = Field(
        default="independent",
        description="shared: image n of every class, variable and config starts from the same "
        "noise.",
    )
    images_per_noise: Annotated[int, Field(strict=True, ge=1, le=10**9)] = Field(
        default=1,
        description="Number of consecutive images of a class that share the same initial noise. "
        "With a `cycle` variable of the same length, each noise is used once with each value.",
    )


class Adapter(Frozen):
    """A LoRA adapter of the model; the effects of several adapters add up."""

    id: Text = Field(min_length=1, description="Hub id, directory, or .safetensors file.")
    revision: Text | None = Field(
        default=None, description="Commit of the Hub repository; for local files their hash."
    )
    weight_name: Text | None = Field(
        default=None, description="File in the repository or directory; default: the only one."
    )
    weight: Number = Field(default=1.0, description="Strength; 1 is as trained.")


class Model(Frozen):
    """The text-to-image model."""

    id: Text = Field(
        min_length=1,
        description="Hub id, directory of a diffusers pipeline, or `embedded`.",
    )
    revision: Text | None = Field(
        default=None, description="Commit of the Hub repository, so that the weights stay the same."
    )
    scheduler: Text | None = Field(
        default=None, description="A diffusers scheduler class; default: the model's own."
    )
    scheduler_config: dict[str, Any] | None = Field(
        default=None, description="Settings that override those of the model's scheduler."
    )
    height: Pixels | None = Field(
        default=None,
        description="Height of generated images in pixels; default: the pipeline's own.",
    )
    width: Pixels | None = Field(
        default=None,
        description="Width of generated images in pixels; default: the pipeline's own.",
    )
    adapters: tuple[Adapter, ...] = Field(
        default=(), description="LoRAs to use, a list of {id, revision, weight}."
    )


def _two_sizes(given: Any) -> Any:
    # Numbers are checked by the model's own types; here only the form is unified.
    return [given, given] if isinstance(given, int) else given


class Output(Frozen):
    """Size and format of stored images."""

    size: Annotated[
        tuple[Pixels, Pixels] | None,
        BeforeValidator(_two_sizes, json_schema_input_type=Pixels | tuple[Pixels, Pixels] | None),
    ] = Field(default=None, description="Pixels, or [height, width]; default: as generated.")
    resample: Resample = Field(default="bilinear", description="Interpolation to that size.")
    antialias: Flag = Field(
        default=True,
        description="Filter before shrinking. Only for bilinear and bicubic: lanczos "
        "and area always filter, nearest never does.",
    )
    lanczos_version: Literal[2] | None = Field(
        default=None,
        description="Written into resolved recipes that resize with lanczos: 2 resizes before "
        "rounding to 8 bits. Datasets of older versions have no value: they rounded first.",
    )
    format: Format = Field(
        default="png", description="png and webp keep every pixel; jpeg is smaller."
    )
    compression: Literal["fast"] | None = Field(
        default=None,
        description="Only for png. fast takes less CPU time for the same pixels; files of "
        "photographs stay as large, those of drawings grow.",
    )

    @property
    def filters(self) -> bool:
        """Whether images are filtered before shrinking, by resample or `antialias`."""
        return _FILTERS.get(self.resample, self.antialias)


def _weighted_texts(given: Any) -> Any:
    if isinstance(given, str):
        return [{"text": given}]
    if isinstance(given, list):
        return [{"text": one} if isinstance(one, str) else one for one in given]
    return given


def _class_entries(given: Any) -> Any:
    if not isinstance(given, list):
        return given
    return [one if isinstance(one, dict) else {"label": one} for one in given]


Prompt = Annotated[
    tuple[WeightedText, ...],
    BeforeValidator(_weighted_texts, json_schema_input_type=Text | list[Text | WeightedText]),
]
Classes = Annotated[
    tuple[ClassEntry, ...],
    BeforeValidator(_class_entries, json_schema_input_type=Text | list[Text | ClassEntry]),
]


class RecipeFile(Frozen):
    """A recipe: the images of one config."""

    name: Text | None = Field(
        default=None,
        description="Name of the config in the dataset; default: the file's name.",
    )
    summary: Text = Field(default="", description="One-line description.")
    source: Text = Field(default="", description="Origin of the recipe.")
    extends: Text | None = Field(
        default=None,
        description="Parent recipe: a name in the same folder, a packaged recipe such as "
        "cifar10/base-class, a path, or one on the Hub: hf://datasets/ORG/NAME@REVISION/PATH.",
    )
    classes: Classes | None = Field(
        default=None,
        description="A class list's name, or labels, or mappings with label, prompt and own "
        "fields.",
    )
    images_per_class: Count | None = Field(default=None, description="Images of each class.")
    prompt: Prompt | None = Field(
        default=None,
        description="A text, or a list of texts or of {text, weight}. {class} is the class's "
        "prompt text, {label} its label, {name} a variable.",
    )
    negative_prompt: Text = Field(default="", description="Negative prompt; may use variables too.")
    variables: dict[str, Variable] = Field(
        default={}, description="Distributions by name, for use in prompts; each becomes a column."
    )
    sampling: Sampling = Field(default=Sampling(), description="Sampling parameters of each image.")
    model: Model | None = Field(default=None, description="The text-to-image model.")
    output: Output = Field(default=Output(), description="Size and format of stored images.")
    same_images_as: Text | None = Field(
        default=None,
        description="Name of another config with the same images, stored with other settings "
        "(`output`). Built together, the images are generated once.",
    )
    combine: tuple[Text, ...] | None = Field(
        default=None,
        description="Recipes to combine instead of a prompt, named as in `extends`: with "
        "images_per_class an equal share of each, without it all images.",
    )
    rows: dict[Text, RowRanges] = Field(
        default={},
        description="Of a combination: the images it takes from each member instead, as indexes "
        "and ranges, e.g. `0-99, 104`. Written by `grow`.",
    )
    origins: tuple[Text, ...] = Field(
        default=(),
        description="Written into resolved recipes: the shared recipes it is based on, "
        "each with its commit.",
    )

    @field_validator("classes")
    @classmethod
    def _some_classes(cls, given: tuple[ClassEntry, ...] | None) -> tuple[ClassEntry, ...] | None:
        if given is not None and not given:
            raise ValueError("is an empty list; add at least one class")
        return given

    @field_validator("rows")
    @classmethod
    def _some_rows(cls, given: dict[str, RowRanges]) -> dict[str, RowRanges]:
        if not given:
            raise ValueError("is empty; list images of each member, or remove it")
        return given


COMBINATION_KEYS = frozenset(
    {"name", "summary", "source", "extends", "combine", "images_per_class", "rows", "origins"}
)
"""Keys of a combination; everything else is defined by its members."""
