"""Make a folder of recipes self-contained, so that it can be shared.

A recipe that uses only its own folder and class lists is copied as written; one that uses something
from elsewhere (a packaged recipe, another repository, a folder above) is resolved, so that it stays
the same for everybody.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.common.errors import Failure, UserError
from factory.common.program import command
from factory.hub.recipe_references import is_safe
from factory.hub.small_files import MAX_BYTES
from factory.recipe.loader import Loader
from factory.recipe.paths import find_recipe, recipe_files
from factory.recipe.remote import CLASSES, INDEX
from factory.recipe.resolved import ResolvedRecipe
from factory.sharing.recipe_index import IndexEntry, entry_of, index_text


@dataclass(frozen=True)
class SharedFolder:
    """A folder of recipes ready to be shared."""

    name: str
    files: Mapping[str, bytes]
    entries: Sequence[IndexEntry]
    resolved: Sequence[str]


def share_folder(folder: str, *, name: str | None = None) -> SharedFolder:
    """Make a folder of recipes self-contained.

    Raises:
        UserError: It is not a folder of recipes, the recipes have errors, or they refer to local
            files.
    """
    source = find_recipe(folder)
    if not source.is_dir() or not recipe_files(source):
        raise UserError(
            f"{folder}: is not a folder of recipes (*.yaml); give the folder, not one file"
        )
    chosen = name or source.resolve().name
    if not is_safe(chosen) or "/" in chosen or chosen == CLASSES:
        raise UserError(f"{chosen}: is not a valid folder name; choose another with --name")
    recipes: dict[str, ResolvedRecipe] = {}
    files: dict[str, bytes] = {}
    names: dict[str, str] = {}
    resolved = []
    for path in recipe_files(source):
        loader = Loader()
        recipe = _loaded(loader, path)
        written = _as_written(loader, source.resolve())
        if written is None:
            resolved.append(recipe.name)
        for one in (*recipe.members, recipe):
            _require_shareable(one)
            recipes.setdefault(one.name, one)
            if written is None and one.name not in names:
                names[one.name] = f"{one.name}.yaml"
                files.setdefault(names[one.name], one.to_yaml().encode())
        if written is not None:
            files |= written
            names[recipe.name] = path.name
    _require_same(files, names, recipes)
    entries = [entry_of(recipes[one], file) for one, file in sorted(names.items())]
    files[INDEX] = index_text(entries).encode()
    return SharedFolder(chosen, files, entries, resolved)


def _loaded(loader: Loader, path: Path) -> ResolvedRecipe:
    recipe = loader.load(path)
    if recipe is None or loader.faults:
        raise UserError(loader.faults)
    return recipe


def _as_written(loader: Loader, source: Path) -> dict[str, bytes] | None:
    """Return a recipe's files by path in the folder, or None if it uses other folders."""
    files = {}
    for path in loader.recipe_files:
        if path.parent != source:
            return None
        files[path.name] = path.read_bytes()
    for path, called in loader.class_lists.items():
        if path.is_relative_to(source):
            files[path.relative_to(source).as_posix()] = path.read_bytes()
        elif called.endswith((".yaml", ".yml")):
            return None
        else:
            files[f"{CLASSES}/{called}.yaml"] = path.read_bytes()
    return files


def _require_shareable(recipe: ResolvedRecipe) -> None:
    """Reject references to local files."""
    if not recipe.is_combination and Path(recipe.model.id).is_absolute():
        raise UserError(
            recipe.fault(
                f"{recipe.model.id} is a local directory; publish the model on the Hub "
                "and use its id",
                *("model", "id"),
            )
        )
    for number, adapter in enumerate(recipe.model.adapters):
        if Path(adapter.id).is_absolute():
            raise UserError(
                recipe.fault(
                    f"{adapter.id} is a local file; publish the adapter on the Hub and use its id",
                    *("model", "adapters", number, "id"),
                )
            )
    for name, variable in recipe.variables.items():
        source = getattr(variable, "captions", None)
        if source is not None and (source.file or Path(str(source.dataset)).is_absolute()):
            raise UserError(
                recipe.fault(
                    f"{source.file or source.dataset} is a local file; publish the "
                    "captions as a dataset on the Hub and use its commit",
                    *("variables", name, "captions"),
                )
            )


def _require_same(
    files: Mapping[str, bytes], names: Mapping[str, str], recipes: Mapping[str, ResolvedRecipe]
) -> None:
    """Load a copy of the folder alone, and check that each recipe resolves to the same config.

    Raises:
        UserError: The copy cannot be loaded.
        Failure: A recipe of the copy resolves to another config.
    """
    large = [file for file, data in files.items() if len(data) > MAX_BYTES]
    if large:
        raise UserError(
            f"{large[0]}: has more than {MAX_BYTES:,} bytes, the limit for shared recipe files; "
            "shorten it"
        )
    with tempfile.TemporaryDirectory(prefix="recipes-") as temporary:
        for file, data in files.items():
            path = Path(temporary, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        loader = Loader()
        for name, file in names.items():
            found = _loaded(loader, Path(temporary, file))
            if found.fingerprint != recipes[name].fingerprint:
                raise Failure(
                    f"{name}: the copy to be pushed generates a different config than the "
                    "original, so nothing was pushed; save the output of "
                    f"`{command('recipes show RECIPE --resolved')}` in a folder of its own and "
                    "push that folder"
                )
