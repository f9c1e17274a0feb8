"""Parse `hf://datasets/ORG/NAME@REV/PATH` references to recipes and locate their copies.

A copy is in huggingface_hub's cache, in a path that contains its repository and commit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from factory.common.errors import UserError

PREFIX = "hf://datasets/"
_REFERENCE = re.compile(
    r"hf://datasets/"
    r"(?P<repo_id>[\w][\w.-]*/[\w][\w.-]*)"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[^@/\s]+))?"
    r"(?:/(?P<path>[^@]*))?"
)
_CACHED = re.compile(
    r"datasets--(?P<org>.+?)--(?P<name>.+?)/snapshots/(?P<commit>[0-9a-f]{40})(?:/(?P<path>.*))?$"
)
_PART = re.compile(r"[\w][\w. +-]{0,199}")
_SHOWN_DIGITS = 12


@dataclass(frozen=True)
class HubReference:
    """A reference as written: a repository, a revision that may move, a path that may be short.

    Attributes:
        repo_id: `ORG/NAME`.
        revision: Branch, tag or commit; None is the default branch.
        path: Path in the repository, without leading or trailing slashes; empty is the root.
    """

    repo_id: str
    revision: str | None
    path: str


@dataclass(frozen=True)
class HubPlace:
    """A file or folder of a repository at a commit; immutable."""

    repo_id: str
    commit: str
    path: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo_id}@{self.commit}/{self.path}".rstrip("/")

    @property
    def shown(self) -> str:
        """Text for messages, with a short commit."""
        return str(self).replace(self.commit, self.commit[:_SHOWN_DIGITS], 1)

    def beside(self, name: str) -> HubPlace:
        """Return the place of a file in this folder."""
        return HubPlace(self.repo_id, self.commit, f"{self.path}/{name}".lstrip("/"))


def is_hub_reference(text: str) -> bool:
    """Return whether a text starts like a Hub reference, valid or not."""
    return text.startswith("hf://")


def parse_reference(text: str) -> HubReference:
    """Parse `hf://datasets/ORG/NAME[@REVISION][/PATH]`.

    Raises:
        UserError: The format is invalid.
    """
    match = _REFERENCE.fullmatch(text)
    path = (match["path"] or "").strip("/") if match else ""
    if match is None or (path and not is_safe(path)):
        raise UserError(
            f"{text}: is not a valid reference to recipes on the Hub; expected "
            "hf://datasets/ORG/NAME@REVISION/PATH, where @REVISION and /PATH are optional"
        )
    revision = match["revision"]
    return HubReference(match["repo_id"], revision.replace("%2F", "/") if revision else None, path)


def is_safe(path: str) -> bool:
    """Return whether a relative path is safe: plain names, no `..`, nothing hidden."""
    return all(_PART.fullmatch(part) for part in path.split("/"))


def place_of(path: Path) -> HubPlace | None:
    """Return the Hub place of a cached file, or None for other files."""
    match = _CACHED.search(path.as_posix())
    if match is None:
        return None
    return HubPlace(f"{match['org']}/{match['name']}", match["commit"], match["path"] or "")
