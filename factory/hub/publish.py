"""Publish local files to the Hub as one verified commit; nothing else writes to the Hub.

Additions, deletions and card are one commit, so readers see the old or the new revision. After a
failure the push can be repeated: uploaded contents and a finished commit are found, and without
differences no commit is made.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from factory.common import console
from factory.common.card_notes import FILE_NAME, merge_cards, read_card, write_card
from factory.common.errors import Failure, UserError
from factory.common.text import plural, some
from factory.hub.changes import (
    LocalFile,
    Plan,
    RemoteFile,
    differences,
    local_file,
    make_plan,
    same,
)
from factory.hub.download import fetch, files_at, offline
from factory.hub.ids import DEFAULT_BRANCH, HubTarget, how_to_get_token, token_source
from factory.hub.meter import Meter
from factory.hub.refs import (
    check_tag,
    check_token_role,
    check_write_access,
    find_head,
    make_branch,
    make_repository,
    make_tag,
    require_ref_name,
)
from factory.hub.session import HubSession
from factory.hub.upload import OtherCommit, additions, commit, upload

_SHOWN = 5


@dataclass(frozen=True)
class Publication:
    """Files to publish.

    Attributes:
        files: All files, by path in the repository.
        owned: Returns whether a path belongs to the publisher; if it is not in `files`, it is
            removed.
        title: The commit's title.
        private: Whether a new repository is private; an existing one must be private then.
        tag: Tag for the commit, or None.
        replaces_card: Whether to overwrite edits of the README on the Hub instead of stopping; None
            for publishers whose README has no place for notes.
    """

    files: Mapping[str, LocalFile]
    owned: Callable[[str], bool]
    title: str
    private: bool = False
    tag: str | None = None
    replaces_card: bool | None = None


@dataclass(frozen=True)
class PublishReport:
    """Result of a push, or of a dry run.

    Attributes:
        target: The repository and its branch.
        plan: The differences.
        commit: The branch's head afterwards; None in a dry run of a new repository.
        created: Whether the repository was (or would be) created.
        committed: Whether a commit was made.
        sent_bytes: Bytes of content sent; None if the client does not report it.
        tag: The commit's tag, or None.
        num_retries: Number of repeated calls.
    """

    target: HubTarget
    plan: Plan
    commit: str | None
    created: bool
    committed: bool
    sent_bytes: int | None
    tag: str | None
    num_retries: int = 0

    @property
    def reused_bytes(self) -> int | None:
        """Bytes of the files that did not have to be sent."""
        if self.sent_bytes is None:
            return None
        total = self.plan.add_bytes + self.plan.unchanged_bytes
        return max(0, total - self.sent_bytes)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "repo_id": self.target.repo_id,
            "branch": self.target.revision,
            "url": self.target.url,
            "commit": self.commit,
            "created": self.created,
            "committed": self.committed,
            "tag": self.tag,
            "added": list(self.plan.add),
            "deleted": list(self.plan.delete),
            "unchanged": len(self.plan.unchanged),
            "add_bytes": self.plan.add_bytes,
            "sent_bytes": self.sent_bytes,
            "reused_bytes": self.reused_bytes,
            "retries": self.num_retries,
        }


def writing_session(target: HubTarget, *, tag: str | None = None) -> HubSession:
    """Check network access, token and names before any work is done; return a session for a push.

    Args:
        target: Repository and branch; without a revision, the default branch.
        tag: Name of the tag to set, if any.

    Raises:
        UserError: `HF_HUB_OFFLINE` is set, there is no token, git would reject the branch or the
            tag, or the name has no owner (the Hub would use the user's own namespace).
    """
    if "/" not in target.repo_id:
        raise UserError(f"{target}: has no owner; write ORG/NAME, or YOUR_NAME/{target.repo_id}")
    if offline():
        raise UserError(f"{target}: HF_HUB_OFFLINE is set; unset it to push")
    if token_source() is None:
        raise UserError(f"{target}: pushing needs a token; {how_to_get_token('write')}")
    target = target.at(target.revision or DEFAULT_BRANCH)
    for name in (target.revision, tag):
        if name is not None:
            require_ref_name(name)
    return HubSession(target, writes=True)


def check_may_push(session: HubSession, *, private: bool = False) -> None:
    """Check, without changing anything, whether a push can succeed.

    Raises:
        UserError: The token is read-only, the name is invalid, or the repository is public but a
            private one is requested.
        Failure: The Hub cannot be reached.
    """
    if find_head(session, private=private).repository:
        check_write_access(session)
    else:
        check_token_role(session)


def publish(
    session: HubSession,
    publication: Publication,
    *,
    dry_run: bool = False,
    show_progress: bool = True,
) -> PublishReport:
    """Publish files to a branch in one commit.

    Args:
        session: From `writing_session`. A missing branch is created.
        publication: Files to publish.
        dry_run: Compare only, change nothing.
        show_progress: Whether to show a progress bar on stderr.

    Raises:
        UserError: No permission, an invalid name, a conflicting tag or visibility, or an edited
            README.
        OtherCommit: Another push was faster.
        Failure: All retries failed, or the Hub's files differ from the sent ones.
    """
    head = find_head(session, private=publication.private)
    created = not head.repository
    if dry_run:
        remote = files_at(session, head.commit) if head.commit else {}
        publication = _with_notes(session, publication, head.commit, remote)
        plan = make_plan(publication.files, remote, owned=publication.owned)
        check_tag(session, publication.tag, head=head, changes=not plan.empty)
        return PublishReport(session.target, plan, head.commit, created, False, 0, None)
    if created:
        make_repository(session, private=publication.private)
    if head.commit is None:
        head = make_branch(session)
    if head.commit is None:
        raise AssertionError("a branch that was created has a commit")
    remote = files_at(session, head.commit)
    publication = _with_notes(session, publication, head.commit, remote)
    try:
        report = _bring_up_to_date(
            session, publication, head, remote=remote, show_progress=show_progress
        )
    except OtherCommit as other:
        # Two pushes of the same files: the other one did the work.
        remote = files_at(session, other.head)
        plan = make_plan(publication.files, remote, owned=publication.owned)
        if not plan.empty:
            raise
        report = PublishReport(session.target, plan, other.head, False, False, 0, None)
    if report.commit is None:
        raise AssertionError("a branch that was updated has a commit")
    if publication.tag is not None and head.tags.get(publication.tag) != report.commit:
        make_tag(session, publication.tag, commit=report.commit)
    return replace(report, created=created, tag=publication.tag, num_retries=session.num_retries)


def _with_notes(
    session: HubSession,
    publication: Publication,
    commit_id: str | None,
    remote: Mapping[str, RemoteFile],
) -> Publication:
    """Return a publication whose README keeps the notes that people added on the Hub."""
    ours = publication.files.get(FILE_NAME)
    if ours is None or publication.replaces_card is None:
        return publication
    content = ours.content if isinstance(ours.content, bytes) else ours.content.read_bytes()
    card = read_card(content.decode(errors="replace"))
    text = write_card(card.body, card.notes)
    there = remote.get(FILE_NAME)
    if there and commit_id and not publication.replaces_card:
        sealed = local_file(text.encode())
        if not same(sealed, there):
            folder = fetch(session.target.at(commit_id), FILE_NAME.__eq__).folder
            theirs = (folder / FILE_NAME).read_text(encoding="utf-8", errors="replace")
            text = merge_cards(text, theirs, place=session.target)
    return replace(publication, files={**publication.files, FILE_NAME: local_file(text.encode())})


def _bring_up_to_date(
    session: HubSession,
    publication: Publication,
    head: Any,
    *,
    remote: Mapping[str, RemoteFile],
    show_progress: bool,
) -> PublishReport:
    """Upload the differences, commit them on the compared head, and check."""
    from huggingface_hub import CommitOperationDelete

    files, parent = publication.files, head.commit
    plan = make_plan(files, remote, owned=publication.owned)
    check_tag(session, publication.tag, head=head, changes=not plan.empty)
    if plan.empty:
        return PublishReport(session.target, plan, parent, False, False, 0, None)
    added = additions(files, plan)
    with Meter(plan.add_bytes, show=show_progress) as meter:
        upload(session, added, files, meter)
    deleted = [CommitOperationDelete(path_in_repo=path, is_folder=False) for path in plan.delete]
    made = commit(session, [*added, *deleted], title=publication.title, parent=parent)
    _verify(session, publication, made)
    return PublishReport(session.target, plan, made, False, True, meter.sent, None)


def _verify(session: HubSession, publication: Publication, made: str) -> None:
    """Check paths, sizes and hashes of the commit."""
    wrong = differences(publication.files, files_at(session, made), owned=publication.owned)
    if wrong:
        raise Failure(
            f"{session.target}: commit {made[:8]} differs from the local files: "
            f"{some(wrong, _SHOWN, separator='; ')}; a .gitignore in the repository may exclude "
            "them. Fix that, then run the same command again"
        )
    console.log(f"checked {plural(len(publication.files), 'file')} of commit {made[:8]} by hash")
