"""Load recipes by file, folder, packaged name or Hub reference, with their parents and members."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from factory.common.errors import Fault, UserError
from factory.common.yaml_reader import read
from factory.recipe.faults import MOST_FAULTS
from factory.recipe.loader import Loader
from factory.recipe.merge import SamplingSource, read_overrides
from factory.recipe.paths import (
    RecipeEntry,
    find_recipe,
    packaged_dir,
    packaged_names,
    recipe_files,
    shown_path,
)
from factory.recipe.resolved import ResolvedRecipe

# Fields that must agree if two recipes have the same images.
_SHOWN = ("classes", "prompt", "negative_prompt", "variables", "sampling", "model")

__all__ = [
    "RecipeEntry",
    "list_recipes",
    "load_recipe",
    "load_recipes",
    "load_stored_recipe",
    "packaged_dir",
]


def load_recipe(
    reference: str | Path,
    *,
    overrides: Sequence[str] = (),
    images_per_class: int | None = None,
    model: str | None = None,
    sampling: SamplingSource = "recipe",
) -> ResolvedRecipe:
    """Load one recipe; the members of a combination are in `members`.

    Args:
        reference: A file, or a packaged name such as `quickstart/base-class`.
        overrides: Texts `key.path=value`.
        images_per_class: Overrides the recipe's number.
        model: `ID` or `ID@REVISION`, overrides the recipe's model.
        sampling: `model` uses the model's guidance and steps instead of the recipe's numbers.

    Raises:
        UserError: All errors of the recipe, at once.
    """
    changes = read_overrides(
        overrides, images_per_class=images_per_class, model=model, sampling=sampling
    )
    path = find_recipe(reference)
    files = recipe_files(path) if path.is_dir() else [path]
    if len(files) != 1:
        names = ", ".join(file.stem for file in files) or "none"
        raise UserError(f"{reference} is a folder of recipes ({names}); name one of them")
    loader = Loader(changes)
    recipe = loader.load(files[0])
    return _all_or_faults(loader, [recipe])[-1]


def load_stored_recipe(path: Path) -> ResolvedRecipe:
    """Load a resolved recipe stored in the folder `recipes/` of a dataset, unchanged.

    The model is not looked up: reading a dataset does not need its model. The dataset may be
    somebody else's, so only files of its directory are read.

    Raises:
        UserError: All errors of the recipe, at once.
    """
    loader = Loader(stored=True)
    return _all_or_faults(loader, [loader.load(path)])[-1]


def load_recipes(
    reference: str | Path,
    *,
    overrides: Sequence[str] = (),
    images_per_class: int | None = None,
    model: str | None = None,
    sampling: SamplingSource = "recipe",
    members: bool = True,
) -> list[ResolvedRecipe]:
    """Load one recipe or a folder of them, with the members of combinations.

    Args:
        reference: A file, a folder, or a packaged name such as `quickstart`.
        overrides: Texts `key.path=value`, for every recipe.
        images_per_class: Overrides the recipes' numbers; unions of all images stay unions.
        model: `ID` or `ID@REVISION`, overrides the recipes' models.
        sampling: `model` uses the model's guidance and steps instead of the recipes' numbers.
        members: False leaves out the members of a combination that `reference` names; `build` adds
            them with as many images as the combination takes.

    Returns:
        Recipes with their own images before combinations, then by name. All have the same classes,
        and variables with the same name have the same type.

    Raises:
        UserError: All errors of all recipes, at once.
    """
    changes = read_overrides(
        overrides, images_per_class=images_per_class, model=model, sampling=sampling
    )
    path = find_recipe(reference)
    files = recipe_files(path) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{shown_path(path)} contains no recipes (*.yaml)")
    loader = Loader(changes)
    recipes = _all_or_faults(loader, [loader.load(file) for file in files])
    if not (members or path.is_dir()):
        return recipes[-1:]
    return sorted(recipes, key=lambda recipe: (recipe.is_combination, recipe.name))


def list_recipes() -> list[RecipeEntry]:
    """Return the packaged recipes, by folder and name."""
    root = packaged_dir("recipes")
    entries = []
    for name in packaged_names():
        path = root / f"{name}.yaml"
        if path.is_file():
            node = read(path, shown=shown_path(path))
            summary = node.child("summary")
            entries.append(RecipeEntry(name, path, str(summary.value) if summary else ""))
    return entries


def _all_or_faults(loader: Loader, wanted: Sequence[ResolvedRecipe | None]) -> list[ResolvedRecipe]:
    """Return the requested recipes, members first, or raise all faults found."""
    found: dict[str, ResolvedRecipe] = {}
    for recipe in wanted:
        for one in (*_members(recipe), recipe) if recipe else ():
            # Names become folders, and some file systems ignore letter case.
            other = found.setdefault(one.name.casefold(), one)
            if other is not one:
                case = "" if other.name == one.name else " (ignoring letter case)"
                loader.faults.append(
                    one.fault(f"another recipe has the name '{one.name}' too{case}", "name")
                )
    if not loader.faults:
        loader.faults += _agreement_faults(list(found.values()))
    if loader.faults:
        raise UserError(_some_of(sorted(dict.fromkeys(loader.faults), key=_in_reading_order)))
    return list(found.values())


def _some_of(faults: list[Fault]) -> list[Fault]:
    more = len(faults) - MOST_FAULTS
    if more <= 0:
        return faults
    return [*faults[:MOST_FAULTS], Fault(f"and more; fix these {MOST_FAULTS} first")]


def _in_reading_order(fault: Fault) -> tuple[str, int, int]:
    return (fault.file or "", fault.line or 0, fault.column or 0)


def _members(recipe: ResolvedRecipe | None) -> list[ResolvedRecipe]:
    if recipe is None:
        return []
    return [one for member in recipe.members for one in (*_members(member), member)]


def _agreement_faults(recipes: Sequence[ResolvedRecipe]) -> list[Fault]:
    """Return faults that prevent recipes from being configs of one dataset."""
    faults = []
    first = recipes[0]
    types: dict[str, tuple[str, str]] = {}
    for recipe in recipes:
        if recipe.labels != first.labels:
            faults.append(
                recipe.fault(
                    f"the classes differ from those of {first.name}; all configs of a dataset have "
                    "the same classes: change them, or build into different directories",
                    "classes",
                )
            )
        for name, kind in {} if recipe.is_combination else recipe.variable_types.items():
            other, owner = types.setdefault(name, (kind, recipe.name))
            if other != kind:
                faults.append(
                    recipe.fault(
                        f"is {kind} here and {other} in {owner}; a column must have one type",
                        *("variables", name),
                    )
                )
    return [*faults, *_twin_faults(recipes)]


def _twin_faults(recipes: Sequence[ResolvedRecipe]) -> list[Fault]:
    """Return faults of recipes with `same_images_as` whose images would differ."""
    by_name = {recipe.name: recipe for recipe in recipes}
    faults = []
    for recipe in recipes:
        other = by_name.get(recipe.same_images_as or "")
        if other is None:
            continue
        differing = [key for key in _SHOWN if getattr(recipe, key) != getattr(other, key)]
        if other.is_combination or other.same_images_as:
            message = f"{other.name} generates no images itself; name the recipe that does"
        elif differing:
            message = (
                f"differs from {other.name} in {', '.join(differing)}; only `output` may differ"
            )
        else:
            continue
        faults.append(recipe.fault(message, "same_images_as"))
    return faults
