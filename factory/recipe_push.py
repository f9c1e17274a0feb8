"""`recipes push`: a folder of recipes to a repository that several teams share.

Each folder there stands for itself. A recipe that reaches nothing but its own folder and class
lists goes as it was written; one that takes something from elsewhere (a packaged recipe, another
repository, a folder above) goes resolved, so that it means the same for everybody and for ever.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from factory import console
from factory.errors import Failure, UserError
from factory.hub_commit import OtherCommit
from factory.hub_place import HubPlace, is_safe
from factory.hub_plan import local_file
from factory.hub_publish import DEFAULT_BRANCH, Publication, PublishReport, publish, require_token
from factory.hub_recipe_files import MAX_BYTES, fetch, first_existing, list_files
from factory.hub_recipes import CLASSES, FOLDER, INDEX
from factory.hub_refs import find_head
from factory.hub_session import HubSession
from factory.hub_target import HubTarget, parse_target
from factory.recipe import ResolvedRecipe
from factory.recipe_index import MARK, IndexEntry, entry_of, index_text, read_index, readme_text
from factory.recipe_loader import Loader
from factory.recipe_paths import find_recipe, recipe_files
from factory.resolve import read_overrides

_README = "README.md"
_ATTEMPTS = 4


@dataclass(frozen=True)
class SharedFolder:
    """A folder of recipes, ready to be shared.

    Attributes:
        name: In the repository.
        files: Contents by path in the folder.
        entries: Of its index.
        resolved: Names of the recipes that were filled in.
    """

    name: str
    files: Mapping[str, bytes]
    entries: Sequence[IndexEntry]
    resolved: Sequence[str]


def push_recipes(
    folder: str,
    repo_id: str,
    *,
    name: str | None = None,
    private: bool = False,
    tag: str | None = None,
    message: str | None = None,
    dry_run: bool = False,
) -> tuple[SharedFolder, PublishReport]:
    """Publish a folder of recipes; those of others in the repository stay.

    Args:
        folder: A folder of recipes, or the name of a packaged one.
        repo_id: `ORG/NAME`, a dataset repository; made if it is not there.
        name: Of the folder there; default: its own.
        private: Make the repository private; a public one that exists is refused.
        tag: Name for the commit, e.g. `v1`.
        message: Title of the commit.
        dry_run: Check and compare, change nothing.

    Raises:
        UserError: The recipes have faults or cannot be shared, or the Hub refuses it.
        Failure: The Hub went on failing.
    """
    target = parse_target(repo_id, "dataset")
    require_token(target)
    shared = share_folder(folder, name=name)
    if shared.resolved:
        console.log(f"filled in, since they take from elsewhere: {', '.join(shared.resolved)}")
    there = _there(target, shared.name, private=private)
    first = there
    for _ in range(_ATTEMPTS):
        publication = _publication(target, shared, there, private=private, tag=tag, message=message)
        try:
            report = publish(target, publication, dry_run=dry_run, show_progress=False)
        except OtherCommit:
            there = _there(target, shared.name, private=private)
            if there.own != first.own:
                raise
            # Another team's folder came between: it belongs in the README too.
            continue
        now = there if dry_run else _there(target, shared.name, private=private)
        if now.others == there.others:
            return shared, report
        there, tag = now, None
    raise Failure(f"{target}: others push all the time; run the same command again")


def share_folder(folder: str, *, name: str | None = None) -> SharedFolder:
    """Make a folder of recipes stand for itself.

    Raises:
        UserError: It is no folder of recipes, they have faults, or they name what is on this
            machine only.
    """
    source = find_recipe(folder)
    if not source.is_dir() or not recipe_files(source):
        raise UserError(f"{folder}: is no folder of recipes")
    chosen = name or source.resolve().name
    if not is_safe(chosen) or "/" in chosen or chosen == CLASSES:
        raise UserError(f"{chosen}: cannot name a shared folder; choose another with --name")
    recipes: dict[str, ResolvedRecipe] = {}
    files: dict[str, bytes] = {}
    names: dict[str, str] = {}
    resolved = []
    for path in recipe_files(source):
        loader = Loader(read_overrides((), images_per_class=None, model=None))
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
    """Return a recipe's files by path in the folder, or None if it takes from elsewhere."""
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
    """Refuse what only this machine has.

    Raises:
        UserError: The recipe names a model or captions by a path.
    """
    if not recipe.is_combination and Path(recipe.model.id).is_absolute():
        raise UserError(
            recipe.fault(
                f"{recipe.model.id} is a directory of this machine; publish the model on the Hub and "
                "name it",
                *("model", "id"),
            )
        )
    for name, variable in recipe.variables.items():
        source = getattr(variable, "captions", None)
        if source is not None and (source.file or Path(str(source.dataset)).is_absolute()):
            raise UserError(
                recipe.fault(
                    f"{source.file or source.dataset} is a file of this machine; publish the captions "
                    "as a dataset on the Hub and name its commit",
                    *("variables", name, "captions"),
                )
            )


def _require_same(
    files: Mapping[str, bytes], names: Mapping[str, str], recipes: Mapping[str, ResolvedRecipe]
) -> None:
    """Load the folder as others will, and see that it makes the same sets.

    Raises:
        UserError: It does not load alone.
        Failure: It makes other sets.
    """
    large = [file for file, data in files.items() if len(data) > MAX_BYTES]
    if large:
        raise UserError(f"{large[0]}: has more than {MAX_BYTES:,} bytes; nobody could pull it")
    with tempfile.TemporaryDirectory(prefix="recipes-") as temporary:
        for file, data in files.items():
            path = Path(temporary, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        loader = Loader(read_overrides((), images_per_class=None, model=None))
        for name, file in names.items():
            found = _loaded(loader, Path(temporary, file))
            if found.fingerprint != recipes[name].fingerprint:
                raise Failure(f"{name}: makes another set when its folder stands alone")


@dataclass(frozen=True)
class _There:
    """What a repository holds before a push.

    Attributes:
        own: Entries of the folder that is pushed; empty if it is new.
        others: Entries of the other folders, by name.
        writes_readme: Whether its README is ours, or missing.
    """

    own: Sequence[IndexEntry]
    others: Mapping[str, Sequence[IndexEntry]]
    writes_readme: bool


def _publication(
    target: HubTarget,
    shared: SharedFolder,
    there: _There,
    *,
    private: bool,
    tag: str | None,
    message: str | None,
) -> Publication:
    """Return the files to publish, the README with the folders of others."""
    root = f"{FOLDER}/{shared.name}"
    files = {f"{root}/{file}": local_file(data) for file, data in sorted(shared.files.items())}
    if there.writes_readme:
        folders = {**there.others, shared.name: shared.entries}
        files[_README] = local_file(readme_text(target.repo_id, folders).encode())
    else:
        console.log(f"{target}: its README was written by hand and stays as it is")
    names = ", ".join(entry.name for entry in shared.entries[:5])
    return Publication(
        files=files,
        owned=lambda path: path.startswith(f"{root}/"),
        title=message or f"Recipes of {shared.name}: {names}",
        private=private,
        tag=tag,
    )


def _there(target: HubTarget, name: str, *, private: bool) -> _There:
    """Look at the repository.

    Raises:
        UserError: It holds a data set, or may not be seen.
    """
    branch = target.at(target.revision or DEFAULT_BRANCH)
    head = find_head(HubSession(branch, writes=True), private=private)
    if head.commit is None:
        return _There((), {}, True)
    root = HubPlace(target.repo_id, head.commit, "")
    top = list_files(root, recursive=False)
    if "manifest.json" in top:
        raise UserError(
            f"{target}: holds a data set; share recipes in a repository of their own, or extend "
            f"the set's: hf://datasets/{target.repo_id}/NAME"
        )
    folders = {}
    for file in _index_files(root):
        place = HubPlace(target.repo_id, head.commit, file)
        folders[file.split("/")[1]] = read_index(fetch(place), shown=place.shown)
    own = folders.pop(name, [])
    readme = HubPlace(target.repo_id, head.commit, _README)
    ours = _README not in top or MARK in fetch(readme).read_text(encoding="utf-8")
    return _There(own, folders, ours)


def _index_files(root: HubPlace) -> list[str]:
    if first_existing(root.repo_id, root.commit, [FOLDER]) is None:
        return []
    found = list_files(HubPlace(root.repo_id, root.commit, FOLDER), recursive=True)
    return [file for file in found if file.count("/") == 2 and file.endswith(f"/{INDEX}")]
