"""`recipes push`: publish a folder of recipes in a repository that several teams share.

The folder's files and the README, which lists all folders, are one commit. Other folders stay
unchanged; if another push comes first, its folder is included in the README.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from factory.common import console
from factory.common.errors import Failure, UserError
from factory.hub.changes import local_file
from factory.hub.ids import parse_target
from factory.hub.publish import Publication, PublishReport, publish, writing_session
from factory.hub.recipe_references import HubPlace
from factory.hub.refs import find_head
from factory.hub.session import HubSession
from factory.hub.small_files import fetch, first_existing, list_files
from factory.hub.upload import OtherCommit
from factory.recipe.remote import FOLDER, INDEX
from factory.sharing.recipe_folder import SharedFolder, share_folder
from factory.sharing.recipe_index import MARK, IndexEntry, read_index, readme_text

_README = "README.md"
_ATTEMPTS = 4


def push_recipes(
    folder: str,
    repo_id: str,
    *,
    name: str | None = None,
    revision: str | None = None,
    private: bool = False,
    tag: str | None = None,
    message: str | None = None,
    dry_run: bool = False,
) -> tuple[SharedFolder, PublishReport]:
    """Publish a folder of recipes; other folders in the repository stay unchanged.

    Args:
        folder: A folder of recipes, or the name of a packaged one.
        repo_id: `ORG/NAME`, a dataset repository; created if missing.
        name: Name in the repository; default: the folder's name.
        revision: Branch, created if missing; default: the default branch.
        private: Make the repository private; an existing public one is rejected.
        tag: Tag for the commit, e.g. `v1`.
        message: Title of the commit.
        dry_run: Check and compare, change nothing.

    Raises:
        UserError: The recipes have faults or cannot be shared, or the Hub rejects them.
        Failure: All retries failed.
    """
    target = parse_target(repo_id, "dataset")
    if revision is not None:
        target = target.at(revision)
    session = writing_session(target, tag=tag)
    shared = share_folder(folder, name=name)
    if shared.resolved:
        names = ", ".join(shared.resolved)
        console.log(f"pushed as resolved recipes, because they use other folders: {names}")
    there = first = _there(session, shared.name, private=private)
    for _ in range(_ATTEMPTS):
        publication = _publication(
            target.repo_id, shared, there, private=private, tag=tag, message=message
        )
        try:
            report = publish(session, publication, dry_run=dry_run, show_progress=False)
        except OtherCommit:
            there = _there(session, shared.name, private=private)
            if there.own != first.own:
                raise
            # Another team pushed a folder first: include it in the README.
            continue
        now = there if dry_run else _there(session, shared.name, private=private)
        if now.others == there.others:
            return shared, report
        there, tag = now, None
    raise Failure(f"{target}: the branch keeps changing; run the same command again")


@dataclass(frozen=True)
class _There:
    """Content of a repository before a push.

    Attributes:
        own: Entries of the pushed folder; empty if it is new.
        others: Entries of the other folders, by name.
        writes_readme: Whether its README is ours, or missing.
    """

    own: Sequence[IndexEntry]
    others: Mapping[str, Sequence[IndexEntry]]
    writes_readme: bool


def _publication(
    repo_id: str,
    shared: SharedFolder,
    there: _There,
    *,
    private: bool,
    tag: str | None,
    message: str | None,
) -> Publication:
    """Return the files to publish, with a README that lists all folders."""
    root = f"{FOLDER}/{shared.name}"
    files = {f"{root}/{file}": local_file(data) for file, data in sorted(shared.files.items())}
    if there.writes_readme:
        folders = {**there.others, shared.name: shared.entries}
        files[_README] = local_file(readme_text(repo_id, folders).encode())
    else:
        console.log(f"{repo_id}: its README.md was written by hand and is kept")
    names = ", ".join(entry.name for entry in shared.entries[:5])
    return Publication(
        files=files,
        owned=lambda path: path.startswith(f"{root}/"),
        title=message or f"Recipes of {shared.name}: {names}",
        private=private,
        tag=tag,
    )


def _there(session: HubSession, name: str, *, private: bool) -> _There:
    """Read the state of the repository."""
    target, head = session.target, find_head(session, private=private)
    if head.commit is None:
        return _There((), {}, True)
    root = HubPlace(target.repo_id, head.commit, "")
    top = list_files(root, recursive=False)
    if "manifest.json" in top:
        raise UserError(
            f"{target}: contains a dataset; share recipes in a separate repository, or extend "
            f"the dataset's recipes: hf://datasets/{target.repo_id}/NAME"
        )
    folders = {}
    for file in _index_files(root):
        place = HubPlace(target.repo_id, head.commit, file)
        folders[file.split("/")[1]] = _entries(place)
    own = folders.pop(name, [])
    readme = HubPlace(target.repo_id, head.commit, _README)
    ours = _README not in top or MARK in fetch(readme).read_text(encoding="utf-8")
    return _There(own, folders, ours)


def _entries(place: HubPlace) -> list[IndexEntry]:
    """Return the entries of a folder's index; none if it is invalid or of a newer version.

    It belongs to another team, so it must not prevent this team's push.
    """
    try:
        return read_index(fetch(place), shown=place.shown)
    except UserError as error:
        console.log(f"warning: {error}")
        return []


def _index_files(root: HubPlace) -> list[str]:
    if first_existing(root.repo_id, root.commit, [FOLDER]) is None:
        return []
    found = list_files(HubPlace(root.repo_id, root.commit, FOLDER), recursive=True)
    return [file for file in found if file.count("/") == 2 and file.endswith(f"/{INDEX}")]
