"""Upload file contents and commit them exactly once.

Contents are uploaded first, in groups, so that an interrupted push finds them again. The commit
names its parent, so it fails if the branch has moved. Its message contains a marker: if the answer
is lost, the commit is found by its marker and not repeated.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from factory.common.errors import Failure
from factory.common.whole_files import sha256
from factory.hub.changes import LocalFile, Plan
from factory.hub.errors import status_of
from factory.hub.ids import is_commit
from factory.hub.meter import Meter, uses_xet
from factory.hub.refs import check_write_access
from factory.hub.session import HubSession

_GROUP_BYTES = 256 * 1024**2
_GROUP_FILES = 200


class OtherCommit(Failure):
    """Raised when somebody else changed the branch in the meantime."""

    def __init__(self, target: object, *, head: str, title: str) -> None:
        self.head, self.title = head, title
        super().__init__(
            f"{target}: another push was faster (commit {head[:8]}, {title!r}); nothing of this "
            "push is visible. Check that commit, then run the same command again to push on top "
            "of it"
        )


def additions(local: Mapping[str, LocalFile], plan: Plan) -> list[Any]:
    """Return the operations that add a plan's files."""
    return [_addition(path, local[path]) for path in plan.add]


def _addition(path: str, file: LocalFile) -> Any:
    """Return the operation that adds one file, which is read once to be sent.

    Xet hashes a file while it sends it. Plain LFS must announce the hash first: it announces a
    known one, and what is sent is hashed then.
    """
    from huggingface_hub import CommitOperationAdd

    if file.sha256 is None or uses_xet():
        return CommitOperationAdd(path_in_repo=path, path_or_fileobj=file.content)
    added = _hashed_addition()(path_in_repo=path, path_or_fileobj=file.content)
    added.upload_info.sha256 = bytes.fromhex(file.sha256)
    return added


@cache
def _hashed_addition() -> Any:
    from huggingface_hub import CommitOperationAdd

    class HashedAddition(CommitOperationAdd):
        """Knows the SHA-256 of the content that the client read last; None if it read nothing."""

        read_sha256: str | None = None

        @contextmanager
        def as_file(self, with_tqdm: bool = False) -> Iterator[Any]:
            with super().as_file(with_tqdm=with_tqdm) as file:
                digest = _hash_reads(file)
                yield file
            self.read_sha256 = digest()

    return HashedAddition


def _hash_reads(file: Any) -> Callable[[], str]:
    """Hash what is read from a file; parts that are sent again are hashed once.

    Returns:
        A function that returns the digest.
    """
    read, hashed, digest = file.read, 0, hashlib.sha256()

    def reading(size: int = -1) -> bytes:
        nonlocal hashed, digest
        start = file.tell()
        if start == 0:
            hashed, digest = 0, hashlib.sha256()
        data: bytes = read(size)
        if start <= hashed:
            digest.update(data[hashed - start :])
            hashed = max(hashed, start + len(data))
        return data

    file.read = reading
    return lambda: digest.hexdigest()


def upload(
    session: HubSession, added: Sequence[Any], local: Mapping[str, LocalFile], meter: Meter
) -> None:
    """Upload file contents; they are not visible before the commit.

    Raises:
        UserError: The Hub rejected the upload.
        Failure: All retries failed, or a file changed while it was read.
    """
    target = session.target
    for group in _groups(added, local):
        with meter.measuring():
            session.call(
                partial(
                    session.api.preupload_lfs_files,
                    target.repo_id,
                    group,
                    repo_type=target.repo_type,
                    revision=target.revision,
                    free_memory=False,
                ),
                doing="uploading",
                check=partial(_probe, session, group, local),
            )
        _check_hashes(group, local, _sent_sha256)
        meter.finish(sum(local[one.path_in_repo].size for one in group))


def commit(session: HubSession, operations: Sequence[Any], *, title: str, parent: str) -> str:
    """Make one commit and return its id.

    Raises:
        OtherCommit: The branch has moved.
        UserError: The Hub rejected the commit.
        Failure: All retries failed; nothing is visible.
    """
    target, marker = session.target, f"push {secrets.token_hex(16)}"

    def attempt() -> str:
        info = session.api.create_commit(
            target.repo_id,
            operations,
            commit_message=title,
            commit_description=marker,
            repo_type=target.repo_type,
            revision=target.revision,
            parent_commit=parent,
        )
        if not is_commit(info.oid):
            raise ValueError("the answer to the commit was damaged")
        return str(info.oid)

    return session.call(
        attempt,
        doing="committing",
        check=lambda _: made_commit(session, marker, parent=parent),
    )


def made_commit(session: HubSession, marker: str, *, parent: str) -> str | None:
    """Look for a commit that may exist although the call failed.

    Returns:
        Its id, or None if the branch has not moved.

    Raises:
        OtherCommit: Somebody else moved the branch.
    """
    target = session.target
    history = session.call(
        lambda: session.api.list_repo_commits(
            target.repo_id, repo_type=target.repo_type, revision=target.revision
        ),
        doing="looking at the branch",
    )
    newer = []
    for one in history:
        if one.commit_id == parent:
            break
        newer.append(one)
    mine = [str(one.commit_id) for one in newer if marker in (one.message or "")]
    if mine:
        return mine[-1]
    if newer:
        raise OtherCommit(target, head=str(newer[0].commit_id), title=str(newer[0].title))
    return None


def _probe(
    session: HubSession, group: Sequence[Any], local: Mapping[str, LocalFile], error: BaseException
) -> None:
    """Look for the reason of an error of Xet or LFS, which would be retried in vain.

    The Hub refuses a file that has changed. A revoked token or a deleted repository are queried, as
    such an error has no HTTP status.
    """
    _check_hashes(group, local, _read_sha256)
    if status_of(error) is None:
        check_write_access(session)


def _check_hashes(
    group: Sequence[Any], local: Mapping[str, LocalFile], hash_of: Callable[[Any], str | None]
) -> None:
    """Check that the content that was sent has the hash in the manifest."""
    for added in group:
        expected = local[added.path_in_repo].sha256
        if expected and hash_of(added) not in (None, expected):
            raise Failure(
                f"{added.path_in_repo}: changed while it was being pushed (is a build running?); "
                "nothing was published; run the same command again when the build has finished"
            )


def _read_sha256(added: Any) -> str | None:
    return getattr(added, "read_sha256", None)


def _sent_sha256(added: Any) -> str:
    """Return the hash of what was sent, or of what the Hub has already."""
    if not getattr(added, "_is_uploaded", False):
        return sha256(Path(added.path_or_fileobj))  # the Hub keeps it in git: sent with the commit
    return _read_sha256(added) or str(added.upload_info.sha256.hex())


def _groups(added: Iterable[Any], local: Mapping[str, LocalFile]) -> Iterator[list[Any]]:
    group: list[Any] = []
    size = 0
    for one in added:
        group.append(one)
        size += local[one.path_in_repo].size
        if size >= _GROUP_BYTES or len(group) >= _GROUP_FILES:
            yield group
            group, size = [], 0
    if group:
        yield group
