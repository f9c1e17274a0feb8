"""Find and create repositories, branches and tags.

Each call may be repeated after a lost answer: something that exists already counts as created.
"""

import re
from dataclasses import dataclass

from factory.common.errors import UserError
from factory.hub.errors import status_of
from factory.hub.ids import how_to_get_token, is_commit, token_source
from factory.hub.session import HubSession

# Names that git rejects for branches and tags (`git check-ref-format`).
_NO_REF_NAME = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|^[./-]|[./]$|^@?$")


@dataclass(frozen=True)
class Head:
    """State of a branch before a push."""

    repository: bool
    commit: str | None
    tags: dict[str, str]


def find_head(session: HubSession, *, private: bool) -> Head:
    """Read the state of the repository without changing anything.

    Raises:
        UserError: It is not accessible, is public although a private one is requested, or the
            revision is a tag or a commit.
    """
    target = session.target

    def look() -> bool | None:
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        try:
            info = session.api.repo_info(target.repo_id, repo_type=target.repo_type)
        except RepositoryNotFoundError as error:
            if isinstance(error, GatedRepoError) or status_of(error) == 401:
                raise
            return None
        return bool(info.private)

    is_private = session.call(look, doing="reading the repository")
    if is_private is None:
        return Head(repository=False, commit=None, tags={})
    if private and not is_private:
        raise UserError(
            f"{target}: is public, and --private does not change existing repositories; make it "
            f"private at {target.url}/settings, or push without --private"
        )
    return _branch_head(session)


def _branch_head(session: HubSession) -> Head:
    target = session.target
    refs = session.call(
        lambda: session.api.list_repo_refs(target.repo_id, repo_type=target.repo_type),
        doing="listing branches",
    )
    branches = {ref.name: ref.target_commit for ref in refs.branches}
    tags = {ref.name: ref.target_commit for ref in refs.tags}
    if target.revision in tags or is_commit(target.revision):
        raise UserError(
            f"{target}: --revision must be a branch, but this is a tag or commit; "
            "to tag the new commit use --tag"
        )
    return Head(repository=True, commit=branches.get(target.revision or ""), tags=tags)


def check_write_access(session: HubSession) -> None:
    """Check that the token may write to the repository.

    Raises:
        UserError: It may not, or the repository is gone.
    """
    target = session.target
    session.call(
        lambda: session.api.auth_check(target.repo_id, repo_type=target.repo_type, write=True),
        doing="checking permissions",
    )


def check_token_role(session: HubSession) -> None:
    """Check that a token is not read-only, before the repository exists.

    Raises:
        UserError: It is read-only.
    """
    account = session.call(lambda: session.api.whoami(), doing="checking the token")
    token = (account.get("auth") or {}).get("accessToken") or {}
    if token.get("role") == "read":
        raise UserError(
            f"{session.target}: the token from {token_source()} is read-only; "
            f"{how_to_get_token('write')}"
        )


def make_repository(session: HubSession, *, private: bool) -> None:
    """Create the repository; one created in the meantime is accepted.

    Raises:
        UserError: The name is invalid, or the token lacks permission.
    """
    target = session.target
    session.call(
        lambda: session.api.create_repo(
            target.repo_id, repo_type=target.repo_type, private=private, exist_ok=True
        ),
        doing="creating the repository",
    )


def make_branch(session: HubSession) -> Head:
    """Create the branch from the default branch if it is missing, and return its head."""
    target = session.target
    head = _branch_head(session)
    if head.commit is not None:
        return head
    session.call(
        lambda: session.api.create_branch(
            target.repo_id, branch=target.revision, repo_type=target.repo_type, exist_ok=True
        ),
        doing="creating the branch",
    )
    return _branch_head(session)


def require_ref_name(name: str) -> None:
    """Check that git accepts a branch or tag name, before anything is sent.

    Raises:
        UserError: The name is invalid.
    """
    if _NO_REF_NAME.search(name):
        raise UserError(f"{name!r} is not a valid branch or tag name; use a plain name such as v1")


def check_tag(session: HubSession, tag: str | None, *, head: Head, changes: bool) -> None:
    """Check before anything is sent that a tag is free or already points to this commit.

    Raises:
        UserError: It points to another commit.
    """
    there = head.tags.get(tag or "")
    if there is not None and (changes or there != head.commit):
        raise UserError(_taken(session, tag, there))


def make_tag(session: HubSession, tag: str, *, commit: str) -> None:
    """Tag a commit; an existing tag of the same commit is accepted.

    Raises:
        UserError: The tag points to another commit, or its name is invalid.
    """
    target = session.target

    def attempt() -> bool:
        session.api.create_tag(target.repo_id, tag=tag, revision=commit, repo_type=target.repo_type)
        return True

    def there(error: BaseException) -> bool | None:
        if status_of(error) != 409:
            return None
        found = _branch_head(session).tags.get(tag)
        if found is not None and found != commit:
            raise UserError(_taken(session, tag, found))
        return True if found == commit else None

    session.call(attempt, doing=f"tagging {tag}", check=there)


def _taken(session: HubSession, tag: str | None, commit: str) -> str:
    return (
        f"{session.target}: tag {tag} already points to commit {commit[:8]}, which has other "
        "files; choose another tag, or delete that one on the Hub first"
    )
