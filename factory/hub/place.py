"""References to recipes on the Hub, and where their copies lie: `hf://datasets/ORG/NAME@REV/PATH`.

A copy lies in huggingface_hub's cache, under the commit it belongs to. From that path alone one can
tell that a file came from the Hub, from which repository, and at which commit.
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
    """What somebody wrote: a repository, a revision that may move, a path that may be short.

    Attributes:
        repo_id: `ORG/NAME`.
        revision: Branch, tag or commit; None is the default branch.
        path: Within the repository, without slashes at its ends; empty is all of it.
    """

    repo_id: str
    revision: str | None
    path: str


@dataclass(frozen=True)
class HubPlace:
    """A file or folder of a repository at a commit: it never changes.

    Attributes:
        repo_id: `ORG/NAME`.
        commit: 40 digits.
        path: Within the repository; empty is its root.
    """

    repo_id: str
    commit: str
    path: str

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo_id}@{self.commit}/{self.path}".rstrip("/")

    @property
    def shown(self) -> str:
        """The place for messages, its commit shortened."""
        return str(self).replace(self.commit, self.commit[:_SHOWN_DIGITS], 1)

    def beside(self, name: str) -> HubPlace:
        """Return the place of a file named within this folder."""
        return HubPlace(self.repo_id, self.commit, f"{self.path}/{name}".lstrip("/"))


def is_hub_reference(text: str) -> bool:
    """Whether a text means something on the Hub, rightly written or not."""
    return text.startswith("hf://")


def parse_reference(text: str) -> HubReference:
    """Read `hf://datasets/ORG/NAME[@REVISION][/PATH]`.

    Raises:
        UserError: It is written otherwise.
    """
    match = _REFERENCE.fullmatch(text)
    path = (match["path"] or "").strip("/") if match else ""
    if match is None or (path and not is_safe(path)):
        raise UserError(
            f"{text}: is no reference to recipes on the Hub; expected "
            "hf://datasets/ORG/NAME@REVISION/PATH, where @REVISION and /PATH may be left out"
        )
    revision = match["revision"]
    return HubReference(match["repo_id"], revision.replace("%2F", "/") if revision else None, path)


def is_safe(path: str) -> bool:
    """Whether a relative path stays where it is: plain names, no `..`, nothing hidden."""
    return all(_PART.fullmatch(part) for part in path.split("/"))


def place_of(path: Path) -> HubPlace | None:
    """Return where a file on disk came from, or None if it is no copy of the Hub's."""
    match = _CACHED.search(path.as_posix())
    if match is None:
        return None
    return HubPlace(f"{match['org']}/{match['name']}", match["commit"], match["path"] or "")
