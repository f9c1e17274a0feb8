"""Read small files of the Hub: size checked first, hash afterwards, cached for offline use.

A commit is immutable, so its files are downloaded once. Resolved revisions and folder listings are
recorded beside huggingface_hub's cache, so that the same references work offline.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from factory.common import console
from factory.common.errors import Failure, UserError
from factory.common.storage import write_text
from factory.hub.download import offline
from factory.hub.ids import HubTarget, is_commit
from factory.hub.recipe_references import HubPlace, is_safe
from factory.hub.session import HubSession

MAX_BYTES = 1_000_000
MAX_ENTRIES = 5_000
_PATIENCE_S = 20.0


@cache
def commit_of(repo_id: str, revision: str | None) -> str:
    """Return the commit of a revision; constant for the life of the process.

    Raises:
        UserError: The repository or revision does not exist, or access is denied.
        Failure: The Hub cannot be reached, and the commit is not cached.
    """
    if is_commit(revision):
        return str(revision)
    session = _session(repo_id, revision)
    note = _note_path("revision", repo_id, revision or "")
    if not offline():
        try:
            commit = session.call(lambda: _asked(session), doing="resolving the revision")
            _note(note, commit)
            return commit
        except Failure as error:
            found = _noted(note) or _cached_ref(repo_id, revision)
            if found is None:
                raise
            console.log(f"{error.args[0].split(';')[0]}; using commit {found[:12]} from the cache")
            return str(found)
    found = _noted(note) or _cached_ref(repo_id, revision)
    if found is None:
        raise UserError(_offline(session.target))
    return str(found)


def _asked(session: HubSession) -> str:
    target = session.target
    found = session.api.dataset_info(target.repo_id, revision=target.revision, expand=["sha"]).sha
    if not is_commit(found):
        raise ValueError("the answer was damaged")
    return str(found)


def first_existing(repo_id: str, commit: str, paths: Sequence[str]) -> HubPlace | None:
    """Return the first of some paths that exists in a commit, as file or folder, or None.

    Raises:
        UserError: Access is denied, or offline mode is on and none of them is cached.
        Failure: The Hub cannot be reached, and none of them is cached.
    """
    places = [HubPlace(repo_id, commit, path) for path in paths]
    cached = [place for place in places if cached_path(place).exists()]
    if cached and cached[0] == places[0]:
        return cached[0]
    session = _session(repo_id, commit)
    if offline():
        if cached:
            return cached[0]
        raise UserError(_offline(session.target, paths[0]))
    try:
        found = {entry.path for entry in _infos(session, paths)}
    except Failure:
        if cached:
            return cached[0]
        raise
    return next((place for place in places if place.path in found), None)


def fetch(place: HubPlace) -> Path:
    """Return the local copy of a file; its size is checked before the download.

    Raises:
        UserError: The file does not exist, is too large, or access is denied.
        Failure: The Hub cannot be reached, or the copy is damaged.
    """
    from huggingface_hub import hf_hub_download

    path = cached_path(place)
    if not path.is_file():
        session = _session(place.repo_id, place.commit)
        if offline():
            raise UserError(_offline(session.target, place.path))
        found = [one for one in _infos(session, [place.path]) if hasattr(one, "blob_id")]
        if not found:
            raise UserError(f"{place.shown}: file not found")
        if found[0].size > MAX_BYTES:
            raise UserError(
                f"{place.shown}: has {found[0].size:,} bytes; the limit for recipe files is "
                f"{MAX_BYTES:,}"
            )
        session.call(
            lambda: hf_hub_download(
                place.repo_id, place.path, repo_type="dataset", revision=place.commit
            ),
            doing=f"fetching {place.path}",
        )
    if path.stat().st_size > MAX_BYTES:
        raise UserError(
            f"{place.shown}: has more than {MAX_BYTES:,} bytes, the limit for recipe files"
        )
    _require_whole(place, path)
    return path


def list_files(folder: HubPlace, *, recursive: bool) -> list[str]:
    """Return the sorted paths of the files in a folder, relative to the repository.

    The answer is cached, so a folder that was listed before can be listed offline.

    Raises:
        UserError: The folder does not exist or has too many files, or offline mode is on and its
            list is not cached.
        Failure: The Hub cannot be reached, and the list is not cached.
    """
    note = _note_path("folder", str(folder), str(recursive))
    noted = _noted(note)
    if noted is not None:
        return list(noted)
    session = _session(folder.repo_id, folder.commit)
    if offline():
        raise UserError(_offline(session.target, f"the list of {folder.path or 'files'}"))
    entries = session.call(
        lambda: _entries(session, folder, recursive=recursive), doing="listing files"
    )
    files = sorted(entry.path for entry in entries if hasattr(entry, "blob_id"))
    # Recipes do not use names that would be unsafe on this machine.
    files = [file for file in files if is_safe(file)]
    _note(note, files)
    return files


def cached_path(place: HubPlace) -> Path:
    """Return the cache path of a file, whether it exists or not."""
    from huggingface_hub import constants

    repository = f"datasets--{place.repo_id.replace('/', '--')}"
    return Path(constants.HF_HUB_CACHE, repository, "snapshots", place.commit, place.path)


def tags_of(repo_id: str) -> dict[str, str]:
    """Return the tags of a repository with their commits; none if the Hub cannot be reached."""
    if offline():
        return {}
    session = _session(repo_id, None)
    try:
        refs = session.call(
            lambda: session.api.list_repo_refs(repo_id, repo_type="dataset"), doing="listing tags"
        )
    except Failure as error:
        console.log(f"{error}")
        return {}
    return {ref.name: ref.target_commit for ref in refs.tags}


def _session(repo_id: str, revision: str | None) -> HubSession:
    target = HubTarget(repo_id, "dataset", revision)
    session = HubSession(target, writes=False)
    # The cache often has it: do not wait for minutes before using it.
    session.patience_s = min(_PATIENCE_S, session.patience_s)
    return session


def _infos(session: HubSession, paths: Sequence[str]) -> list[Any]:
    target = session.target
    found: list[Any] = session.call(
        lambda: session.api.get_paths_info(
            target.repo_id, list(paths), revision=target.revision, repo_type="dataset"
        ),
        doing="looking for files",
    )
    return found


def _entries(session: HubSession, folder: HubPlace, *, recursive: bool) -> list[Any]:
    tree = session.api.list_repo_tree(
        folder.repo_id,
        folder.path or None,
        recursive=recursive,
        revision=folder.commit,
        repo_type="dataset",
    )
    entries = []
    for entry in tree:
        entries.append(entry)
        if len(entries) > MAX_ENTRIES:
            raise UserError(
                f"{folder.shown}: has more than {MAX_ENTRIES:,} files; name a folder in it"
            )
    return entries


def _require_whole(place: HubPlace, path: Path) -> None:
    """Check that a copy has the hash in its name; the client does not check it."""
    blob = path.resolve()
    data = blob.read_bytes()
    expected = {
        40: lambda: hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
        64: lambda: hashlib.sha256(data).hexdigest(),
    }.get(len(blob.name))
    # Without links in the cache, a copy has its plain name and cannot be checked.
    if blob != path and expected is not None and expected() != blob.name:
        blob.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise Failure(
            f"{place.shown}: was damaged during the download and removed from the cache; run the "
            "same command again"
        )


def _offline(target: HubTarget, what: str = "") -> str:
    named = f" ({what})" if what else ""
    return (
        f"{target}: HF_HUB_OFFLINE is set and this is not in the cache{named}; "
        "unset it and run the command once with access to the Hub"
    )


def _cached_ref(repo_id: str, revision: str | None) -> str | None:
    """Return the commit that the cache of huggingface_hub records for a revision."""
    from huggingface_hub import constants

    repository = f"datasets--{repo_id.replace('/', '--')}"
    path = Path(constants.HF_HUB_CACHE, repository, "refs", revision or "main")
    text = path.read_text(encoding="utf-8").strip() if path.is_file() else None
    return text if is_commit(text) else None


def _note_path(*key: str) -> Path:
    from huggingface_hub import constants

    name = hashlib.sha256("\n".join((constants.ENDPOINT, *key)).encode()).hexdigest()
    return Path(constants.HF_HOME, "data-factory", f"{name}.json")


def _note(path: Path, value: Any) -> None:
    # A read-only cache is no problem: the note is only for offline use.
    with suppress(OSError):
        write_text(path, json.dumps(value))


def _noted(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
