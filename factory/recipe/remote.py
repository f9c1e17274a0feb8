"""Resolve `hf://` references to recipes on the Hub into local files.

A shared recipe may refer to its own repository and to other repositories, but not to local paths or
packaged recipes: names are relative to its own folder, everything else is written as `hf://`.
"""

import unicodedata
from pathlib import Path

from factory.common.errors import UserError
from factory.common.program import command
from factory.common.yaml_nodes import Place
from factory.hub.recipe_references import HubPlace, is_safe, parse_reference
from factory.hub.small_files import cached_path, commit_of, fetch, first_existing, list_files

FOLDER = "recipes"
CLASSES = "classes"
INDEX = "index.json"
MAX_RECIPES = 500
_ENDINGS = (".yaml", ".yml")
# Needed for Persian words and many pictographs.
_JOINERS = "\u200c\u200d"


def open_reference(text: str) -> Path:
    """Return the copy of the file or folder of recipes of a reference.

    Args:
        text: `hf://datasets/ORG/NAME[@REVISION][/PATH]`; the path may omit `recipes/` and `.yaml`.
            Without a path: the only recipe folder of the repository.

    Raises:
        UserError: The repository, revision or recipe does not exist, or the reference is ambiguous.
        Failure: The Hub cannot be reached, and the recipe is not cached.
    """
    reference = parse_reference(text)
    commit = commit_of(reference.repo_id, reference.revision)
    if not reference.path:
        return fetch_folder(_only_folder(HubPlace(reference.repo_id, commit, ""), text))
    path = reference.path
    if path.endswith(_ENDINGS):
        candidates = [path]
    else:
        candidates = [f"{FOLDER}/{path}.yaml", f"{path}.yaml", f"{FOLDER}/{path}", path]
    found = first_existing(reference.repo_id, commit, candidates)
    if found is None:
        raise UserError(f"{text}: no such recipe; {_known(reference.repo_id, commit)}")
    return fetch(found) if found.path.endswith(_ENDINGS) else fetch_folder(found)


def fetch_folder(folder: HubPlace) -> Path:
    """Download the recipes directly in a folder, and return the folder's copy.

    Raises:
        UserError: It has none, or too many.
    """
    files = [file for file in list_files(folder, recursive=False) if file.endswith(_ENDINGS)]
    if not files:
        raise UserError(f"{folder.shown}: contains no recipes (*.yaml)")
    if len(files) > MAX_RECIPES:
        raise UserError(
            f"{folder.shown}: contains {len(files)} recipes; the limit is {MAX_RECIPES}"
        )
    for file in files:
        fetch(HubPlace(folder.repo_id, folder.commit, file))
    return cached_path(folder)


def folders_of(repo_id: str, commit: str) -> dict[str, list[str]]:
    """Return the recipe folders in a repository's `recipes/`, with their file names."""
    root = HubPlace(repo_id, commit, FOLDER)
    if first_existing(repo_id, commit, [FOLDER]) is None:
        return {}
    folders: dict[str, list[str]] = {}
    for file in list_files(root, recursive=True):
        folder, _, name = file.rpartition("/")
        if name.endswith(_ENDINGS) and folder.rpartition("/")[2] != CLASSES:
            folders.setdefault(folder, []).append(name)
    return folders


def fetch_beside(home: HubPlace, text: str, *, place: Place) -> Path:
    """Return the copy of a recipe that another recipe on the Hub refers to.

    Raises:
        UserError: It is not the name of a file in the folder.
    """
    name = text if text.endswith(_ENDINGS) else f"{text}.yaml"
    if not is_safe(text):
        raise UserError(
            place.fault(
                f"'{text}' is outside the recipe's folder; a shared recipe may only use names in "
                "its folder and hf:// references"
            )
        )
    found = first_existing(home.repo_id, home.commit, [home.beside(name).path])
    if found is None:
        raise UserError(
            place.fault(
                f"there is no recipe '{text}' in this folder; a shared recipe may only use names "
                f"in its folder and hf:// references (`{command('recipes push')}` converts other "
                "references)"
            )
        )
    return fetch(found)


def fetch_class_list(home: HubPlace, text: str, *, place: Place) -> Path:
    """Return the copy of the class list of a recipe on the Hub; `home` is the recipe's folder.

    Raises:
        UserError: There is no such list in its repository.
    """
    ending = "" if text.endswith(_ENDINGS) else ".yaml"
    above = home.path.rpartition("/")[0]
    candidates = [home.beside(f"{CLASSES}/{text}{ending}").path]
    if ending:
        candidates.append(f"{above}/{CLASSES}/{text}.yaml".lstrip("/"))
    else:
        candidates = [home.beside(text).path]
    found = first_existing(home.repo_id, home.commit, candidates) if is_safe(text) else None
    if found is None:
        raise UserError(
            place.fault(
                f"there is no class list '{text}' in classes/ beside it; a shared recipe includes "
                f"its class lists (`{command('recipes push')}` does that) or lists its classes "
                "itself",
                key="classes",
            )
        )
    return fetch(found)


def is_printable(text: str) -> bool:
    """Return whether a text has no control or bidirectional characters but line breaks and tabs."""
    return all(
        letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cf") or letter in _JOINERS
        for letter in text
    )


def _only_folder(root: HubPlace, text: str) -> HubPlace:
    folders = folders_of(root.repo_id, root.commit)
    if FOLDER in folders:
        return HubPlace(root.repo_id, root.commit, FOLDER)
    if len(folders) == 1:
        return HubPlace(root.repo_id, root.commit, next(iter(folders)))
    if folders:
        names = ", ".join(_short(folder) for folder in folders)
        raise UserError(f"{text}: contains several recipe folders; add one of /{names}")
    raise UserError(f"{text}: the repository has no {FOLDER}/ with recipes in it")


def _known(repo_id: str, commit: str) -> str:
    folders = folders_of(repo_id, commit)
    names = [
        f"{_short(folder)}/{Path(name).stem}".lstrip("/")
        for folder, files in folders.items()
        for name in files
    ]
    more = f", and {len(names) - 10} more" if len(names) > 10 else ""
    return f"it has: {', '.join(names[:10]) or 'none'}{more}"


def _short(folder: str) -> str:
    return folder.removeprefix(FOLDER).strip("/")
