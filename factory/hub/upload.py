"""Upload file contents and commit them exactly once.

Contents are uploaded first, in groups, so that an interrupted push finds them again. The commit
names its parent, so it fails if the branch has moved. Its message contains a marker: if the answer
is lost, the commit is found by its marker and not repeated.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from factory.common.errors import Failure
from factory.hub.changes import LocalFile, Plan
from factory.hub.errors import status_of
from factory.hub.ids import is_commit
from factory.hub.meter import Meter
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


@dataclass(frozen=True)
class Message:
    """A commit's title and marker."""

    title: str
    marker: str

    @classmethod
    def of(cls, title: str) -> Message:
        """Return a message with a unique marker."""
        return cls(title, f"push {secrets.token_hex(16)}")


def additions(local: Mapping[str, LocalFile], plan: Plan) -> list[Any]:
    """Return the operations that add a plan's files."""
    from huggingface_hub import CommitOperationAdd

    return [
        CommitOperationAdd(path_in_repo=path, path_or_fileobj=local[path].content)
        for path in plan.add
    ]


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
                check=lambda error: _probe(session, error),
            )
        for one in group:
            _check_hash(one, local[one.path_in_repo])
        meter.finish(sum(local[one.path_in_repo].size for one in group))


def commit(session: HubSession, operations: Sequence[Any], *, message: Message, parent: str) -> str:
    """Make one commit and return its id.

    Raises:
        OtherCommit: The branch has moved.
        UserError: The Hub rejected the commit.
        Failure: All retries failed; nothing is visible.
    """
    target = session.target

    def attempt() -> str:
        info = session.api.create_commit(
            target.repo_id,
            operations,
            commit_message=message.title,
            commit_description=message.marker,
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
        check=lambda _: made_commit(session, message, parent=parent),
    )


def made_commit(session: HubSession, message: Message, *, parent: str) -> str | None:
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
    mine = [str(one.commit_id) for one in newer if message.marker in (one.message or "")]
    if mine:
        return mine[-1]
    if newer:
        raise OtherCommit(target, head=str(newer[0].commit_id), title=str(newer[0].title))
    return None


def _probe(session: HubSession, error: BaseException) -> None:
    """Query the Hub after an error of Xet or LFS without an HTTP status.

    A revoked token or a deleted repository is then reported at once instead of being retried.
    """
    if status_of(error) is None:
        check_write_access(session)


def _check_hash(added: Any, file: LocalFile) -> None:
    """Check that the uploaded content has the hash in the manifest."""
    info = added.upload_info
    sent = info.sha256.hex() if info.sha256 else None
    if file.sha256 is not None and sent is not None and sent != file.sha256:
        raise Failure(
            f"{added.path_in_repo}: changed while it was being pushed (is a build running?); "
            "nothing was published; run the same command again when the build has finished"
        )


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
