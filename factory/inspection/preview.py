"""Generate a contact sheet of a recipe: rows share their noise, columns vary one thing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.builder.ranks import own_device
from factory.common.errors import Failure, UserError
from factory.distributions.discrete import Constant, Uniformly
from factory.distributions.template import shown
from factory.distributions.variables import Linked, PerClass, Quantity
from factory.models.inference import InferenceSettings
from factory.planner.plan import ImageSpec, plan
from factory.planner.sampling_summary import sampling_line, sampling_summary
from factory.recipe.model_checks import require_used_guidance
from factory.recipe.model_files import PipelineSettings
from factory.recipe.resolved import ResolvedRecipe
from factory.renderer.contact_sheet import contact_sheet, stacked
from factory.renderer.flaws import NOT_FINITE
from factory.renderer.placement import require_offload
from factory.renderer.pool import RendererFactory, Renderers, pipeline_settings
from factory.shards.settings import BuildSettings, fix

if TYPE_CHECKING:
    from PIL import Image

CLASS = "class"
GUIDANCE_SCALE = "guidance_scale"
_GUIDANCE_SCALES = (1.0, 2.0, 3.0, 5.0, 7.5)
_MAX_COLUMNS = 10
_BATCH_SIZE = 16


@dataclass(frozen=True)
class Preview:
    """A contact sheet."""

    sheet: Image.Image
    sampling: str


@dataclass(frozen=True)
class _Column:
    """One column of the sheet: a value, and the recipe with only this value."""

    title: str
    recipe: ResolvedRecipe
    label: int


def preview(
    recipes: ResolvedRecipe | Sequence[ResolvedRecipe],
    *,
    vary: str | None = None,
    rows: int = 4,
    columns: int = _MAX_COLUMNS,
    class_name: str | None = None,
    device: str = "auto",
    allow_pickle: bool = False,
    offload: str | None = None,
    renderer_factory: RendererFactory | None = None,
) -> Preview:
    """Generate a contact sheet of recipes, one below the other.

    Args:
        recipes: Combinations among several have no images of their own and are left out; of a
            single one, its first member is shown.
        vary: Quantity that differs between columns: a variable, `guidance_scale` or `class`.
            Default: the first variable with listed values, else `class`.
        rows: Number of initial noises, those of the config's first images.
        columns: Maximum number of values; the first ones are shown.
        class_name: The label to show; default: the first. Not with `vary="class"`.
        device: `auto`, or a device type such as `cpu`.
        allow_pickle: Whether to load pickled weights of a model without safetensors.
        offload: How to use a model that is larger than the device's memory, as for a build.
        renderer_factory: Creates the renderer; default: the recipe's diffusers model.

    Raises:
        UserError: The variable or class does not exist, or the model cannot be loaded.
    """
    if rows < 1 or columns < 1:
        raise UserError(f"{rows} rows and {columns} columns were requested; use 1 or more")
    place = own_device(device)
    require_offload(offload, str(place))
    renderers = Renderers(
        renderer_factory, device=place, allow_pickle=allow_pickle, offload=offload
    )
    settings = fix(BuildSettings(), recorded=None, device=place.type, out="")
    parts = [
        _part(one, renderers, settings.inference, vary, rows, columns, class_name)
        for one in _with_images(recipes)
    ]
    sampling = "\n".join(one.sampling for one in parts)
    return Preview(stacked([one.sheet for one in parts]), sampling)


def _with_images(recipes: ResolvedRecipe | Sequence[ResolvedRecipe]) -> list[ResolvedRecipe]:
    """Return the recipes to show: those with images of their own, or the first member."""
    given = [recipes] if isinstance(recipes, ResolvedRecipe) else list(recipes)
    first = given[0]
    while first.is_combination:
        first = first.members[0]
    return [one for one in given if not one.is_combination] or [first]


def _part(
    recipe: ResolvedRecipe,
    renderers: Renderers,
    inference: InferenceSettings,
    vary: str | None,
    rows: int,
    columns: int,
    class_name: str | None,
) -> Preview:
    """Generate the part of one recipe; see `preview`."""
    varied = vary or _default(recipe)
    shown_columns = _columns(recipe, varied, class_name=class_name)[:columns]
    specs = _specs(shown_columns, rows)
    images, pipeline = _generate(recipe, specs, renderers, inference)
    own = recipe if varied != GUIDANCE_SCALE else _with_listed(recipe, specs)
    sampling = sampling_line(own, sampling_summary(own, pipeline))
    width = len(shown_columns)
    grid = [images[row * width : (row + 1) * width] for row in range(rows)]
    label = "" if varied == CLASS else f", {recipe.labels[shown_columns[0].label]}"
    sheet = contact_sheet(
        grid,
        row_labels=[f"noise {row + 1}" for row in range(rows)],
        column_labels=[column.title for column in shown_columns],
        title=f"{recipe.name}{label}: {varied.replace('_', ' ')} by column, noise by row",
        caption=sampling,
    )
    return Preview(sheet, sampling)


def _with_listed(recipe: ResolvedRecipe, specs: Sequence[ImageSpec]) -> ResolvedRecipe:
    """Return a recipe with the guidance scales of some images."""
    scales = tuple(dict.fromkeys(spec.guidance_scale for spec in specs))
    scale: Quantity = Uniformly(scales) if len(scales) > 1 else Constant(scales[0])
    return _with_sampling(recipe, guidance_scale=scale)


def _default(recipe: ResolvedRecipe) -> str:
    for name, variable in recipe.variables.items():
        # One value per class, such as the article of its name, varies in no class.
        own = variable.of(recipe.labels[0]) if isinstance(variable, PerClass) else variable
        if isinstance(own, Linked) or (own is not None and len(own.values() or []) > 1):
            return name
    return CLASS


def _columns(recipe: ResolvedRecipe, vary: str, *, class_name: str | None) -> list[_Column]:
    if vary == CLASS:
        return [_Column(label, recipe, place) for place, label in enumerate(recipe.labels)]
    label = _label(recipe, class_name)
    if vary == GUIDANCE_SCALE:
        values = recipe.sampling.guidance_scale.values() or []
        scales = values if len(values) > 1 else _GUIDANCE_SCALES
        return [
            _Column(
                shown(scale), _with_sampling(recipe, guidance_scale=Constant(float(scale))), label
            )
            for scale in scales
        ]
    if vary not in recipe.variables:
        known = [*recipe.variables, GUIDANCE_SCALE, CLASS]
        has = ", ".join(known)
        raise UserError(f"{recipe.name} has no variable {vary!r} to vary; it has: {has}")
    return [
        _Column(title, _changed(recipe, {"variables": {**recipe.variables, vary: fixed}}), label)
        for title, fixed in _values(recipe, vary, recipe.labels[label])
    ]


def _label(recipe: ResolvedRecipe, class_name: str | None) -> int:
    if class_name is None:
        return 0
    if class_name not in recipe.labels:
        raise UserError(
            f"{recipe.name} has no class {class_name!r}; it has: {', '.join(recipe.labels)}"
        )
    return recipe.labels.index(class_name)


def _values(recipe: ResolvedRecipe, name: str, label: str) -> list[tuple[str, Any]]:
    """Return the values of a variable, each as a title and as a variable with only this value."""
    variable = recipe.variables[name]
    if isinstance(variable, Linked):
        return [
            (", ".join(map(shown, row)), Linked(linked=variable.linked, values=(row,)))
            for row in variable.values
        ]
    own = variable.of(label) if isinstance(variable, PerClass) else variable
    values = own.values() if own is not None else []
    low, high = (own or variable).bounds()
    if values is None and math.isnan(low):
        raise UserError(f"{name} has too many values to show side by side; vary another quantity")
    if values is None:
        values = [low + (high - low) * part / 4 for part in range(5)]
    return [(shown(value), Constant(value)) for value in values]


def _with_sampling(recipe: ResolvedRecipe, **changes: Quantity) -> ResolvedRecipe:
    return _changed(recipe, {"sampling": recipe.sampling.model_copy(update=changes)})


def _changed(recipe: ResolvedRecipe, changes: dict[str, Any]) -> ResolvedRecipe:
    """Return a recipe with changed fields; rebuilt, since a copy would keep derived values."""
    fields = {name: getattr(recipe, name) for name in type(recipe).model_fields}
    return ResolvedRecipe.model_construct(**(fields | changes))


def _specs(columns: Sequence[_Column], rows: int) -> list[ImageSpec]:
    """Return the images of the sheet, row by row; images in a row share their initial noise."""
    specs = []
    for row in range(rows):
        line = []
        for column in columns:
            every = column.recipe.sampling.images_per_noise
            recipe = _changed(column.recipe, {"images_per_class": rows * every})
            index = row * every * len(recipe.labels) + column.label
            line += plan(recipe).rows(index, index + 1)
        specs += [spec._replace(seed=line[0].seed) for spec in line]
    return specs


def _generate(
    recipe: ResolvedRecipe,
    specs: Sequence[ImageSpec],
    renderers: Renderers,
    inference: InferenceSettings,
) -> tuple[list[Any], PipelineSettings | None]:
    renderer = renderers.get(recipe, inference)
    require_used_guidance(recipe, pipeline_settings(renderer))
    images: list[Any] = []
    for start in range(0, len(specs), _BATCH_SIZE):
        batch = specs[start : start + _BATCH_SIZE]
        images += renderer.render(batch, batch_size=min(_BATCH_SIZE, len(specs)))
    if any(image is None for image in images):
        raise Failure(
            f"{recipe.name}: {NOT_FINITE} for {sum(one is None for one in images)} of "
            f"{len(images)} images; try another scheduler, or a model in float32"
        )
    return images, pipeline_settings(renderer)
