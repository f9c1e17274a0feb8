"""Loads recipes by reference: files, folders and packaged names, with their parents and members."""

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

# What two recipes share that show the same images.
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
    """Load one recipe; a combination brings its members along as `members`.

    Args:
        reference: A file, or a packaged name such as `quickstart/base-class`.
        overrides: Texts `key.path=value`.
        images_per_class: Instead of the recipe's own.
        model: `ID` or `ID@REVISION`, instead of the recipe's own.
        sampling: `model` takes the model's guidance and steps instead of the recipe's numbers.

    Raises:
        UserError: Everything that is wrong with it, at once.
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
    """Load a resolved recipe that lies beside a set, as it was stored.

    Its model is taken as written: to read a set, nobody needs what drew it.

    Raises:
        UserError: Everything that is wrong with it, at once.
    """
    loader = Loader(read_overrides(), find_models=False)
    return _all_or_faults(loader, [loader.load(path)])[-1]


def load_recipes(
    reference: str | Path,
    *,
    overrides: Sequence[str] = (),
    images_per_class: int | None = None,
    model: str | None = None,
    sampling: SamplingSource = "recipe",
) -> list[ResolvedRecipe]:
    """Load one recipe or a folder of them, with the members of combinations.

    Args:
        reference: A file, a folder, or a packaged name such as `quickstart`.
        overrides: Texts `key.path=value`, for every recipe.
        images_per_class: Instead of the recipes' own; a combination of everything stays one.
        model: `ID` or `ID@REVISION`, instead of the recipes' own.
        sampling: `model` takes the model's guidance and steps instead of the recipes' numbers.

    Returns:
        Sets before combinations, then by name. All have one class list, and variables of one name
        have one type.

    Raises:
        UserError: Everything that is wrong with any of them, at once.
    """
    changes = read_overrides(
        overrides, images_per_class=images_per_class, model=model, sampling=sampling
    )
    path = find_recipe(reference)
    files = recipe_files(path) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{shown_path(path)} holds no recipes (*.yaml)")
    loader = Loader(changes)
    recipes = _all_or_faults(loader, [loader.load(file) for file in files])
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
    """Return the recipes wanted, their members first, or raise all faults that were found."""
    found: dict[str, ResolvedRecipe] = {}
    for recipe in wanted:
        for one in (*_members(recipe), recipe) if recipe else ():
            # Names are folders, and not every file system tells letter case apart.
            other = found.setdefault(one.name.casefold(), one)
            if other is not one:
                case = "" if other.name == one.name else ", but for letter case"
                loader.faults.append(
                    one.fault(f"another recipe of the set is named '{one.name}' too{case}", "name")
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
    return [*faults[:MOST_FAULTS], Fault(f"and more; mend these {MOST_FAULTS} first")]


def _in_reading_order(fault: Fault) -> tuple[str, int, int]:
    return (fault.file or "", fault.line or 0, fault.column or 0)


def _members(recipe: ResolvedRecipe | None) -> list[ResolvedRecipe]:
    if recipe is None:
        return []
    return [one for member in recipe.members for one in (*_members(member), member)]


def _agreement_faults(recipes: Sequence[ResolvedRecipe]) -> list[Fault]:
    """Return what keeps recipes from being configs of one dataset."""
    faults = []
    first = recipes[0]
    types: dict[str, tuple[str, str]] = {}
    for recipe in recipes:
        if recipe.labels != first.labels:
            faults.append(
                recipe.fault(
                    f"the classes are not those of {first.name}; a set has one class list",
                    "classes",
                )
            )
        for name, kind in {} if recipe.is_combination else recipe.variable_types.items():
            other, owner = types.setdefault(name, (kind, recipe.name))
            if other != kind:
                faults.append(
                    recipe.fault(
                        f"is {kind} here and {other} in {owner}; a column has one type",
                        *("variables", name),
                    )
                )
    return [*faults, *_twin_faults(recipes)]


def _twin_faults(recipes: Sequence[ResolvedRecipe]) -> list[Fault]:
    """Return where a set names another one as its images' and would draw different ones."""
    by_name = {recipe.name: recipe for recipe in recipes}
    faults = []
    for recipe in recipes:
        other = by_name.get(recipe.same_images_as or "")
        if other is None:
            continue
        differing = [key for key in _SHOWN if getattr(recipe, key) != getattr(other, key)]
        if other.is_combination or other.same_images_as:
            message = f"{other.name} draws no images of its own; name the set that does"
        elif differing:
            message = f"differs from {other.name} in {', '.join(differing)}; only `output` may"
        else:
            continue
        faults.append(recipe.fault(message, "same_images_as"))
    return faults
