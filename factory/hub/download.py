"""Download files of one Hub commit and check their hashes.

The Hub's clients do not compare a download with its hash, and a damaged file stays in the cache
under its right name. So every file is hashed here before it is used.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from glob import escape
from pathlib import Path, PurePosixPath

from factory.common import console
from factory.common.errors import Failure, UserError
from factory.hub.changes import RemoteFile, local_file, remote_files, same
from factory.hub.ids import HubTarget, is_commit
from factory.hub.session import HubSession

_ROUNDS = 3


@dataclass(frozen=True)
class Snapshot:
    """Files of one commit in the local cache."""

    folder: Path
    commit: str


def offline() -> bool:
    """Return whether the user forbids network access (`HF_HUB_OFFLINE`)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def resolve_commit(target: HubTarget) -> str:
    """Return the current commit of a target's revision.

    Raises:
        UserError: The repository or revision does not exist, or access is denied.
        Failure: The Hub cannot be reached.
    """
    session = HubSession(target, writes=False)

    def look() -> str:
        info = session.api.repo_info(
            target.repo_id, repo_type=target.repo_type, revision=target.revision
        )
        if not is_commit(info.sha):
            raise ValueError("the answer was damaged")
        return str(info.sha)

    return session.call(look, doing="looking it up")


def cached(target: HubTarget) -> Snapshot:
    """Return the cached files of a target's revision, without the network.

    Raises:
        UserError: None are cached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            target.repo_id,
            repo_type=target.repo_type,
            revision=target.revision,
            local_files_only=True,
            allow_patterns=[],
        )
    except LocalEntryNotFoundError:
        raise UserError(
            f"{target}: HF_HUB_OFFLINE is set and this is not in the cache; unset it once to "
            "download it"
        ) from None
    return Snapshot(Path(folder), Path(folder).name)


def check_read_access(target: HubTarget) -> None:
    """Check that the contents may be read, not only the list of files.

    Raises:
        UserError: Access is denied: the repository is gated.
        Failure: The Hub cannot be reached.
    """
    session = HubSession(target, writes=False)
    session.call(
        lambda: session.api.auth_check(target.repo_id, repo_type=target.repo_type),
        doing="requesting access",
    )


def fetch(target: HubTarget, wanted: Callable[[str], bool]) -> Snapshot:
    """Download and check files of a target's revision; cached files are kept.

    Raises:
        UserError: The repository or revision does not exist, or access is denied.
        Failure: The Hub cannot be reached, or files are damaged after every download.
    """
    session = HubSession(target, writes=False)
    damaged: list[str] = []
    for _ in range(_ROUNDS):
        commit = resolve_commit(target)
        tree = files_at(session, commit)
        expected = {path: file for path, file in tree.items() if wanted(path)}
        allow, ignore = _patterns(expected, [path for path in tree if path not in expected])
        folder = session.call(partial(_download, target, allow, ignore), doing="loading")
        if folder.name != commit:
            # The branch moved in the meantime; resolve it again.
            continue
        damaged = [path for path, file in expected.items() if not _whole(folder / path, file)]
        if not damaged:
            return Snapshot(folder, commit)
        console.log(
            f"{target}: {len(damaged)} downloaded files are damaged ({damaged[0]}); downloading "
            "again"
        )
        for path in damaged:
            _forget(folder / path)
    what = (
        f"{damaged[0]} is damaged after every download" if damaged else "the branch keeps changing"
    )
    raise Failure(f"{target}: {what} ({_ROUNDS} attempts); try again later")


def files_at(session: HubSession, commit: str) -> dict[str, RemoteFile]:
    """Return the files of a commit, by path."""
    target = session.target
    return session.call(
        lambda: remote_files(
            session.api.list_repo_tree(
                target.repo_id, repo_type=target.repo_type, revision=commit, recursive=True
            )
        ),
        doing="listing files",
    )


def _patterns(wanted: Collection[str], others: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return patterns that match the wanted paths, and those of them to ignore.

    The client matches each path against each pattern: with a pattern per file, a folder of 10,000
    photos takes it more than 10 minutes.
    """
    suffixes = tuple({PurePosixPath(path).suffix for path in wanted})
    unwanted = [escape(path) for path in others if path.endswith(suffixes)]
    if len(unwanted) < len(wanted):
        return [f"*{escape(suffix)}" for suffix in sorted(suffixes)], unwanted
    return [escape(path) for path in wanted], []


def _download(target: HubTarget, allow: list[str], ignore: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    # By the revision's name, so that the cache finds it in offline mode.
    return Path(
        snapshot_download(
            target.repo_id,
            repo_type=target.repo_type,
            revision=target.revision,
            allow_patterns=allow,
            ignore_patterns=ignore,
        )
    )


def _whole(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and same(local_file(path), file)


def _forget(path: Path) -> None:
    """Remove a file from the cache: its name in the snapshot and its content."""
    content = path.resolve()
    path.unlink(missing_ok=True)
    content.unlink(missing_ok=True)
