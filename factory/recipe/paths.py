"""Find recipes and class lists: packaged, in the same folder, by path, or on the Hub."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from factory.common.errors import UserError
from factory.common.yaml_nodes import Place
from factory.hub.recipe_references import is_hub_reference, place_of
from factory.recipe.faults import nearest

_PACKAGE = Path(__file__).resolve().parent.parent
_CLASSES = "classes"
# Systems reject longer paths, with differing errors.
_LONGEST = 1000
_LONGEST_NAME = 200


def packaged_dir(kind: str) -> Path:
    """Return the folder of packaged files, in a checkout or an installed package."""
    installed = _PACKAGE / f"_{kind}"
    return installed if installed.is_dir() else _PACKAGE.parent / kind


def shown_path(path: Path) -> str:
    """Return a path as a user would type it: relative if that is shorter."""
    shared = place_of(path)
    if shared is not None:
        return shared.shown
    absolute = path.resolve()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


@dataclass(frozen=True)
class RecipeEntry:
    """A packaged recipe.

    Attributes:
        name: Name for commands, e.g. `quickstart/base-class`.
        path: File of the recipe.
        summary: One-line description.
    """

    name: str
    path: Path
    summary: str


def recipe_files(folder: Path) -> list[Path]:
    """Return a folder's recipes; files that begin with `_` are only extended by others."""
    return sorted(path for path in folder.glob("*.yaml") if not path.name.startswith(("_", ".")))


def packaged_names() -> list[str]:
    """Return the names of the packaged recipe folders and their recipes."""
    names = []
    root = packaged_dir("recipes")
    for folder in sorted(one for one in root.rglob("*") if one.is_dir()):
        name = folder.relative_to(root).as_posix()
        files = recipe_files(folder) if name != _CLASSES else []
        if files:
            names.append(name)
            names += [f"{name}/{path.stem}" for path in files]
    return names


def find_recipe(
    reference: str | Path, *, place: Place | None = None, folder: Path | None = None
) -> Path:
    """Return the file or folder of a reference.

    Args:
        reference: A path, a packaged name, `hf://...`, or, in a recipe, a name in its folder.
        place: Location of the reference, if in a recipe.
        folder: The folder of that recipe.

    Raises:
        UserError: There is no such recipe.
    """
    text = str(reference)
    if len(text) > _LONGEST or any(len(part) > _LONGEST_NAME for part in Path(text).parts):
        message = f"there is no recipe '{text[:60]}...' ({len(text):,} characters)"
        raise UserError(place.fault(message) if place else message)
    if is_hub_reference(text):
        return _from_hub(text, place)
    shared = place_of(folder) if folder else None
    if shared is not None and place is not None:
        from factory.recipe.remote import fetch_beside

        return fetch_beside(shared, text, place=place)
    base = folder or Path()
    candidates = [base / text, base / f"{text}.yaml"] if text else []
    if folder is None:
        candidates = [Path(text)] if text else []
    is_name = ".." not in Path(text).parts and not Path(text).is_absolute() and text
    if is_name and Path(text).parts[:1] != (_CLASSES,):
        packaged = packaged_dir("recipes") / text
        candidates += [packaged.with_name(f"{packaged.name}.yaml"), packaged]
    for candidate in candidates:
        if _is_file(candidate) or (folder is None and candidate.is_dir()):
            return candidate
    siblings = [path.stem for path in recipe_files(folder)] if folder else []
    known = [*siblings, *packaged_names()]
    here = [] if folder or place else [one.name for one in Path().iterdir() if one.is_dir()]
    home = Path(text).parent
    if text and not (folder or place) and home.is_dir():
        here += [str(path) for path in recipe_files(home)]
    if close := difflib.get_close_matches(text, here, n=1, cutoff=0.8):
        known = close
    message = f"there is no recipe '{text}'{nearest(text, known)}"
    raise UserError(place.fault(message) if place else message)


def _from_hub(text: str, place: Place | None) -> Path:
    from factory.recipe.remote import open_reference

    try:
        return open_reference(text)
    except UserError as error:
        raise UserError(place.fault(error.faults[0].message) if place else error.faults) from None


def _is_file(path: Path) -> bool:
    """Return whether a file exists; too long names, pipes and devices are not files."""
    try:
        return path.is_file()
    except OSError:
        return False


def find_class_list(reference: str, *, place: Place, folder: Path) -> Path:
    """Return the file of a class list.

    Raises:
        UserError: There is no such list.
    """
    shared = place_of(folder)
    if shared is not None:
        from factory.recipe.remote import fetch_class_list

        return fetch_class_list(shared, reference, place=place)
    packaged = packaged_dir("recipes") / _CLASSES
    homes = [folder / _CLASSES, folder.parent / _CLASSES, packaged]
    if reference.endswith((".yaml", ".yml")):
        candidates = [folder / reference]
    else:
        candidates = [home / f"{reference}.yaml" for home in homes]
    for candidate in candidates:
        if _is_file(candidate):
            return candidate
    known = sorted({path.stem for home in homes for path in home.glob("*.yaml")})
    raise UserError(
        place.fault(
            f"there is no class list '{reference}'{nearest(reference, known)}", key="classes"
        )
    )
