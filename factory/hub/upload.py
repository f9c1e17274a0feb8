"""Uploads contents and makes one commit of them, surely and once.

Contents go up first, in groups, so that a push that was stopped finds them again. The commit names
its parent: it is made on what was compared, or not at all. Its message carries a marker, by which a
commit whose answer was lost is found instead of being made twice.
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
    """Somebody else changed the branch after it was looked at.

    Attributes:
        head: The commit that the branch points at now.
        title: Its title.
    """

    def __init__(self, target: object, *, head: str, title: str) -> None:
        self.head, self.title = head, title
        super().__init__(
            f"{target}: another push was faster (commit {head[:8]}, {title!r}), so nothing of this "
            "one is visible; look at it, then run the same command again to push on top of it"
        )


@dataclass(frozen=True)
class Message:
    """A commit's title, and its marker."""

    title: str
    marker: str

    @classmethod
    def of(cls, title: str) -> Message:
        """Give a title a marker that no other push has."""
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
    """Send the contents of files; none of it is visible before the commit.

    Args:
        session: Whose target names the branch.
        added: From `additions`.
        local: The files by path.
        meter: Counts.

    Raises:
        UserError: The Hub refused it.
        Failure: It went on failing, or a file changed while it was read.
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

    Args:
        session: Whose target names the branch.
        operations: Additions and deletions.
        message: Title and marker.
        parent: The commit that was compared with.

    Raises:
        OtherCommit: The branch moved meanwhile.
        UserError: The Hub refused it.
        Failure: It went on failing; nothing is visible.
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
    """Look for a commit that may have been made although its answer said otherwise.

    Returns:
        Its id, or None while the branch is still where it was.

    Raises:
        OtherCommit: The branch moved, and not by us.
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
    """Ask the Hub about us after an error of Xet's or LFS's own, which says no status.

    A revoked token or a deleted repository is told at once instead of being tried again.
    """
    if status_of(error) is None:
        check_write_access(session)


def _check_hash(added: Any, file: LocalFile) -> None:
    """See that what was sent is what the manifest names."""
    info = added.upload_info
    sent = info.sha256.hex() if info.sha256 else None
    if file.sha256 is not None and sent is not None and sent != file.sha256:
        raise Failure(
            f"{added.path_in_repo}: changed while it was being pushed (is a build at work?); "
            "nothing is published; run the same command again when it has ended"
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
