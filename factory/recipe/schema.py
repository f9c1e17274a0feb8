"""What a recipe file may say: the models of the YAML, and the source of its JSON schema.

A child's file merged into its parent's is checked against `RecipeFile`; `factory.recipe.validate`
turns that into the `factory.recipe.resolved.ResolvedRecipe` that everything else works with.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator

from factory.distributions.base import Frozen, Number, Weight
from factory.distributions.discrete import Constant
from factory.distributions.scalar import AnyDistribution
from factory.distributions.variables import Quantity, Variable

Text = Annotated[str, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=1, le=10**12)]
Pixels = Annotated[int, Field(strict=True, ge=1, le=16384)]
Flag = Annotated[bool, Field(strict=True)]
Resample = Literal["nearest", "bilinear", "bicubic", "lanczos", "area"]
Format = Literal["png", "jpeg", "webp"]

LANCZOS_VERSION: Final = 2
"""Raised when `resample: lanczos` gives other pixels: part of the fingerprints it concerns."""

# Whether an interpolation filters before it shrinks; the others do as `antialias` says.
_FILTERS = {"nearest": False, "lanczos": True, "area": True}


class WeightedText(Frozen):
    """One of several prompts."""

    text: Text = Field(description="A prompt; {name} stands for a variable, {class} for the class.")
    weight: Weight = Field(default=1.0, description="How often, relative to the other prompts.")


class ClassEntry(Frozen):
    """A class: its label in the dataset, its wording in prompts, and fields of its own.

    Every other key is a field: a variable that belongs to this class.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, AnyDistribution] = Field(init=False)

    label: Text = Field(min_length=1, description="Name in the dataset, what {label} says.")
    prompt: AnyDistribution = Field(
        default=Constant(""),
        description="What {class} says; default: the label with spaces for '_'.",
    )

    @property
    def fields(self) -> dict[str, AnyDistribution]:
        """The class's own variables, by name."""
        return dict(self.__pydantic_extra__ or {})


class Sampling(Frozen):
    """How each image is drawn."""

    guidance_scale: Quantity = Field(
        default=Constant(7.5),
        description="How closely an image follows its prompt. Lower is more diverse; 1 is none; "
        "auto is the model's own.",
    )
    num_inference_steps: Quantity = Field(
        default=Constant(50),
        description="Denoising steps of the scheduler, whole numbers; auto is the model's own.",
    )
    seed: Annotated[int, Field(strict=True, ge=0, le=2**63 - 1)] = Field(
        default=0, description="The set's base seed; every draw depends on it."
    )
    noise: Literal["independent", "shared"] = Field(
        default="independent",
        description="shared: the n-th image of every class, variable and set starts from the same "
        "noise.",
    )
    images_per_noise: Annotated[int, Field(strict=True, ge=1, le=10**9)] = Field(
        default=1,
        description="So many images of a class in a row start from the same noise; with a `cycle` "
        "of as many values, each noise is drawn once with each value.",
    )


class Adapter(Frozen):
    """A LoRA that changes the model; several add up."""

    id: Text = Field(min_length=1, description="Hub id, directory, or .safetensors file.")
    revision: Text | None = Field(
        default=None, description="Commit of the Hub repository; of local files their hash."
    )
    weight_name: Text | None = Field(
        default=None, description="The file in it; default: the only one."
    )
    weight: Number = Field(default=1.0, description="How strongly it is applied; 1 is as trained.")


class Model(Frozen):
    """The text-to-image model."""

    id: Text = Field(
        min_length=1,
        description="Hub id, directory of a diffusers pipeline, or `embedded`.",
    )
    revision: Text | None = Field(
        default=None, description="Commit of the Hub repository; pins the weights."
    )
    scheduler: Text | None = Field(
        default=None, description="A diffusers scheduler class; default: the model's own."
    )
    scheduler_config: dict[str, Any] | None = Field(
        default=None, description="Settings that replace those of the model's scheduler."
    )
    height: Pixels | None = Field(
        default=None, description="Height to draw in pixels; default: the pipeline's own."
    )
    width: Pixels | None = Field(
        default=None, description="Width to draw in pixels; default: the pipeline's own."
    )
    adapters: tuple[Adapter, ...] = Field(
        default=(), description="LoRAs to draw with, a list of {id, revision, weight}."
    )


def _two_sizes(given: Any) -> Any:
    # A number is checked by the model's own types; only the form is made one.
    return [given, given] if isinstance(given, int) else given


class Output(Frozen):
    """What is kept of a drawn image."""

    size: Annotated[
        tuple[Pixels, Pixels] | None,
        BeforeValidator(_two_sizes, json_schema_input_type=Pixels | tuple[Pixels, Pixels] | None),
    ] = Field(default=None, description="Pixels, or [height, width]; default: as drawn.")
    resample: Resample = Field(default="bilinear", description="Interpolation to that size.")
    antialias: Flag = Field(
        default=True,
        description="Filter before shrinking. Only bilinear and bicubic have the choice: lanczos "
        "and area always filter, nearest never does.",
    )
    lanczos_version: Literal[2] | None = Field(
        default=None,
        description="Written into resolved recipes that resize with lanczos: 2 resizes before "
        "pixels are rounded to 8 bits. Datasets of older versions have none: they rounded first.",
    )
    format: Format = Field(
        default="png", description="png and webp keep every pixel; jpeg is smaller."
    )

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width in pixels, or None: as drawn."""
        return self.size

    @property
    def filters(self) -> bool:
        """Whether images are filtered before they shrink, whatever `antialias` says."""
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
    """A recipe: what one set of images shows."""

    name: Text | None = Field(
        default=None,
        description="The set's name, a config of the dataset; default: the file's name.",
    )
    summary: Text = Field(default="", description="One line for people.")
    source: Text = Field(default="", description="Where the recipe comes from.")
    extends: Text | None = Field(
        default=None,
        description="The recipe this one changes: a sibling's name, a packaged recipe such as "
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
        "wording, {label} its label, {name} a variable.",
    )
    negative_prompt: Text = Field(
        default="", description="What should not be seen; may name variables too."
    )
    variables: dict[str, Variable] = Field(
        default={}, description="Distributions by name, for use in prompts; each becomes a column."
    )
    sampling: Sampling = Field(default=Sampling(), description="How each image is drawn.")
    model: Model | None = Field(default=None, description="The text-to-image model.")
    output: Output = Field(default=Output(), description="What is kept of a drawn image.")
    same_images_as: Text | None = Field(
        default=None,
        description="Name of another set whose draws this one takes: the same images, kept another "
        "way (`output`). Built together they are drawn once.",
    )
    combine: tuple[Text, ...] | None = Field(
        default=None,
        description="Recipes to make a set of, named as in `extends`, instead of a prompt. With "
        "images_per_class an "
        "equal share of each, without it everything.",
    )
    origins: tuple[Text, ...] = Field(
        default=(),
        description="Written into resolved recipes: the shared recipes that this one was made of, "
        "each at its commit.",
    )

    @field_validator("classes")
    @classmethod
    def _some_classes(cls, given: tuple[ClassEntry, ...] | None) -> tuple[ClassEntry, ...] | None:
        if given is not None and not given:
            raise ValueError("is an empty list; write at least one class")
        return given


COMBINATION_KEYS = frozenset(
    {"name", "summary", "source", "extends", "combine", "images_per_class", "origins"}
)
"""What a combination takes; everything else is its members' business."""
