"""Repositories of localhub: files, commits, branches, tags."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import yaml
from localhub_http import HttpError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True)
class Blob:
    """A file of a commit: regular (no sha256), LFS, or LFS kept in Xet (with the Xet file hash)."""

    oid: str
    size: int
    sha256: str | None = None
    xet: str | None = None

    @classmethod
    def lfs(cls, sha256: str, size: int, xet: str | None) -> Blob:
        return cls(git_oid(f"{POINTER}{sha256}\nsize {size}\n".encode()), size, sha256, xet)

    def tree_item(self, path: str) -> dict:
        xet = {"xetHash": self.xet} if self.xet else {}
        return {
            "type": "file",
            "oid": self.oid,
            "size": self.size,
            "path": path,
            **self._lfs("oid"),
            **xet,
        }

    def sibling(self, path: str, with_blobs: bool) -> dict:
        blobs = {"size": self.size, "blobId": self.oid, **self._lfs("sha256")} if with_blobs else {}
        return {"rfilename": path, **blobs}

    def _lfs(self, key: str) -> dict:
        if self.sha256 is None:
            return {}
        pointer_size = len(f"{POINTER}{self.sha256}\nsize {self.size}\n")
        return {"lfs": {key: self.sha256, "size": self.size, "pointerSize": pointer_size}}


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    message: str
    author: str
    date: str
    files: dict[str, Blob]

    def summary(self) -> dict:
        return {"id": self.oid, "title": self.title, "date": self.date}


@dataclass
class Repo:
    kind: str  # "models", "datasets" or "spaces"
    name: str
    private: bool = False
    gated: str | bool = False
    created: str = field(default_factory=now)
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    lfs: dict[str, int] = field(default_factory=dict)  # sha256 -> size of the uploaded LFS objects
    pending: dict[str, dict[int, bytes]] = field(
        default_factory=dict
    )  # sha256 -> parts not yet verified

    @property
    def url_path(self) -> str:
        return f"/{self.name}" if self.kind == "models" else f"/{self.kind}/{self.name}"

    def at(self, revision: str) -> Commit:
        revision = re.sub(r"^refs/(heads|tags)/", "", revision)
        oid = self.branches.get(revision) or self.tags.get(revision)
        if oid is None and re.fullmatch(r"[0-9a-f]{7,40}", revision):
            oid = next((commit for commit in self.commits if commit.startswith(revision)), None)
        if oid is None:
            raise HttpError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def history(self, commit: Commit) -> Iterator[Commit]:
        while True:
            yield commit
            if commit.parent is None:
                return
            commit = self.commits[commit.parent]

    def last_change(self, commit: Commit, path: str) -> Commit:
        def state(at: Commit) -> dict[str, Blob]:
            return {
                p: blob for p, blob in at.files.items() if p == path or p.startswith(path + "/")
            }

        wanted, last = state(commit), commit
        for older in self.history(commit):
            if state(older) != wanted:
                return last
            last = older
        return last

    def add_commit(
        self, branch: str, title: str, message: str, author: str, files: dict[str, Blob]
    ) -> Commit:
        parent = self.branches.get(branch)
        listing = json.dumps(
            [parent, title, len(self.commits), sorted((p, b.oid) for p, b in files.items())]
        )
        oid = hashlib.sha1(f"{self.kind}/{self.name} {self.created} {listing}".encode()).hexdigest()
        commit = self.commits[oid] = Commit(oid, parent, title, message, author, now(), files)
        self.branches[branch] = oid
        return commit


def tree(files: dict[str, Blob], folder: str, recursive: bool) -> list[dict]:
    prefix = f"{folder}/" if folder else ""
    below: dict[str, list[str]] = {}
    items: dict[str, dict] = {}
    for path, blob in sorted(files.items()):
        if not path.startswith(prefix):
            continue
        parts = path[len(prefix) :].split("/")
        for depth in range(1, len(parts) if recursive else min(2, len(parts))):
            parent = prefix + "/".join(parts[:depth])
            below.setdefault(parent, []).append(f"{path}:{blob.oid}")
        if recursive or len(parts) == 1:
            items[path] = blob.tree_item(path)
    for path, lines in below.items():
        oid = hashlib.sha1("\n".join(lines).encode()).hexdigest()
        items[path] = {"type": "directory", "oid": oid, "size": 0, "path": path}
    if folder and not items:
        raise HttpError(404, f"{folder} does not exist", "EntryNotFound")
    return [items[path] for path in sorted(items)]


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Gitignore-like match of the path, a name in it or a folder of it; usual patterns only."""
    parts = path.split("/")
    candidates = [path, *parts, *("/".join(parts[:i]) for i in range(1, len(parts)))]
    return any(
        fnmatch.fnmatchcase(c, pattern.strip().strip("/"))
        for pattern in patterns
        for c in candidates
    )


def card_data(readme: bytes) -> dict | None:
    front = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", readme.decode("utf-8", "replace"), re.S)
    data = yaml.safe_load(front.group(1)) if front else None
    if data is not None and not isinstance(data, dict):
        raise yaml.YAMLError("the metadata is not a mapping")
    return data
