"""List and pull recipes of the Hub.

Pulling copies the files as written, with pinned references; the copy is then checked to generate
the same configs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.common.errors import Failure, UserError
from factory.common.storage import write_bytes
from factory.common.yaml_nodes import Node
from factory.common.yaml_reader import read
from factory.hub.recipe_references import HubPlace, is_hub_reference, parse_reference, place_of
from factory.hub.small_files import commit_of, fetch, list_files, tags_of
from factory.recipe.loader import Loader
from factory.recipe.paths import recipe_files, shown_path
from factory.recipe.remote import CLASSES, FOLDER, INDEX, folders_of, is_printable, open_reference
from factory.recipe.resolved import ResolvedRecipe
from factory.sharing.recipe_index import IndexEntry, read_index


@dataclass(frozen=True)
class SharedRecipe:
    """A recipe in a repository.

    Attributes:
        name: Name used in references.
        summary: One line, plain text.
        fingerprint: From its index, or None without an index.
    """

    name: str
    summary: str
    fingerprint: str | None


@dataclass(frozen=True)
class Listing:
    """The recipes of a repository at a commit."""

    repo_id: str
    commit: str
    tags: dict[str, str]
    recipes: list[SharedRecipe]


def list_shared(reference: str) -> Listing:
    """List the recipes of a repository, or of one folder in it.

    Raises:
        UserError: There are none, or access is denied.
        Failure: The Hub cannot be reached, and the list is not cached.
    """
    wanted = parse_reference(reference)
    commit = commit_of(wanted.repo_id, wanted.revision)
    folders = folders_of(wanted.repo_id, commit)
    if wanted.path:
        folders = {
            folder: files
            for folder, files in folders.items()
            if wanted.path in (folder, folder.removeprefix(f"{FOLDER}/"))
        }
    recipes: list[SharedRecipe] = []
    for folder, files in folders.items():
        recipes += _of_folder(HubPlace(wanted.repo_id, commit, folder), files)
    if not recipes:
        raise UserError(
            f"{reference}: contains no recipes in {FOLDER}/; check the repository and folder names"
        )
    return Listing(wanted.repo_id, commit, tags_of(wanted.repo_id), recipes)


def _of_folder(folder: HubPlace, files: Sequence[str]) -> list[SharedRecipe]:
    prefix = f"{folder.path.removeprefix(FOLDER)}/".lstrip("/")
    index = folder.beside(INDEX)
    entries: dict[str, IndexEntry] = {}
    if index.path in list_files(HubPlace(folder.repo_id, folder.commit, FOLDER), recursive=True):
        entries = {one.file: one for one in read_index(fetch(index), shown=index.shown)}
    found = []
    for file in files:
        if file.startswith("_"):
            continue
        entry = entries.get(file)
        summary = entry.summary if entry else _summary(folder.beside(file))
        plain = " ".join(summary.split()) if is_printable(summary) else "(not plain text)"
        name = f"{prefix}{Path(file).stem}"
        found.append(SharedRecipe(name, plain, entry.fingerprint if entry else None))
    return found


def _summary(place: HubPlace) -> str:
    node = read(fetch(place), shown=place.shown).child("summary")
    return str(node.value) if node is not None else ""


def pull(reference: str, out: Path, *, replace: bool = False) -> list[Path]:
    """Copy a shared recipe, or a folder of them, with everything it uses from its own repository.

    Args:
        reference: `hf://datasets/ORG/NAME[@REVISION][/PATH]`.
        out: The folder to write; created if missing.
        replace: Whether existing files with other contents may be replaced.

    Returns:
        The recipes written.

    Raises:
        UserError: The recipes have errors, or files would be replaced.
        Failure: The copy does not generate the same configs.
    """
    if not is_hub_reference(reference):
        raise UserError(f"{reference}: is a local recipe; pull takes hf://datasets/ORG/NAME")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name a folder")
    source = open_reference(reference)
    home = source if source.is_dir() else source.parent
    wanted = recipe_files(source) if source.is_dir() else [source]
    loader = Loader()
    before = _load(loader, wanted)
    copies = _copies(loader, home)
    _require_free({out / name: data for name, data in copies.items()}, replace=replace)
    for name, data in copies.items():
        write_bytes(out / name, data)
    written = [out / path.relative_to(home) for path in wanted]
    after = _load(Loader(), written)
    for one, other in zip(before, after, strict=True):
        if one.fingerprint != other.fingerprint:
            raise Failure(
                f"{out}: the pulled copy of {one.name} generates a different config than the "
                "original; do not use it: build from the hf:// reference instead"
            )
    return written


def _load(loader: Loader, files: Sequence[Path]) -> list[ResolvedRecipe]:
    loaded = [loader.load(path) for path in files]
    if loader.faults:
        raise UserError(loader.faults)
    return [recipe for recipe in loaded if recipe is not None]


def _copies(loader: Loader, home: Path) -> dict[str, bytes]:
    """Return the files to write, by path in the folder, without those of other repositories."""
    copies = {}
    for path in loader.recipe_files:
        if path.is_relative_to(home):
            node = read(path, shown=shown_path(path))
            text = path.read_text(encoding="utf-8")
            copies[path.relative_to(home).as_posix()] = _pinned(text, node, loader.pins).encode()
    for path in loader.class_lists:
        if path.is_relative_to(home):
            copies[path.relative_to(home).as_posix()] = path.read_bytes()
        elif place_of(path) is not None and path.is_relative_to(home.parent):
            copies[f"{CLASSES}/{path.name}"] = path.read_bytes()
    return copies


def _pinned(text: str, node: Node, pins: dict[str, str]) -> str:
    """Return a recipe's text with the commit in each of its references to the Hub."""
    members = node.child("combine")
    named = [node.child("extends"), *(members.value if members and members.value else [])]
    lines = text.splitlines(keepends=True)
    # From the end, so that earlier positions stay valid.
    for one in reversed([one for one in named if one is not None and one.value in pins]):
        line, column = (one.place.line or 1) - 1, (one.place.column or 1) - 1
        rest = lines[line][column:]
        lines[line] = lines[line][:column] + rest.replace(one.value, pins[one.value], 1)
    return "".join(lines)


def _require_free(files: dict[Path, bytes], *, replace: bool) -> None:
    other = [path for path, data in files.items() if path.exists() and path.read_bytes() != data]
    if other and not replace:
        raise UserError(
            f"{other[0]}: exists with other contents; pull into another folder, or add --replace"
        )
