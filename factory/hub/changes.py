"""Compare local files with the files of a revision to plan a push.

Files are equal if size and content hash agree: SHA-256 for LFS and Xet, the git blob's SHA-1 for
files in git. The same comparison verifies a push afterwards.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LocalFile:
    """A file to publish.

    Attributes:
        content: Path of the file, or its bytes.
        size: Size in bytes.
        sha256: Expected hash, if known (a shard of a manifest).
    """

    content: Path | bytes
    size: int
    sha256: str | None = None


@dataclass(frozen=True)
class RemoteFile:
    """A file of a revision; `sha256` is None for files in git, which have a `blob_id`."""

    size: int
    sha256: str | None
    blob_id: str


@dataclass(frozen=True)
class Plan:
    """Changes to make."""

    add: tuple[str, ...]
    delete: tuple[str, ...]
    unchanged: tuple[str, ...] = field(repr=False)
    add_bytes: int
    unchanged_bytes: int

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.add and not self.delete


def local_file(content: Path | bytes, *, sha256: str | None = None) -> LocalFile:
    """Describe a file on disk, or one in memory."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    return LocalFile(content, size, sha256)


def remote_files(entries: Any) -> dict[str, RemoteFile]:
    """Return the files among the entries of `HfApi.list_repo_tree`, by path."""
    return {
        entry.path: RemoteFile(entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
        for entry in entries
        if hasattr(entry, "blob_id")
    }


def make_plan(
    local: Mapping[str, LocalFile],
    remote: Mapping[str, RemoteFile],
    *,
    owned: Callable[[str], bool],
) -> Plan:
    """Compare local and remote files."""
    unchanged = tuple(path for path in local if path in remote and same(local[path], remote[path]))
    kept = set(unchanged)
    add = tuple(path for path in local if path not in kept)
    return Plan(
        add=add,
        delete=tuple(path for path in remote if path not in local and owned(path)),
        unchanged=unchanged,
        add_bytes=sum(local[path].size for path in add),
        unchanged_bytes=sum(local[path].size for path in unchanged),
    )


def same(local: LocalFile, remote: RemoteFile) -> bool:
    """Return whether a file on the Hub has the content of a local file."""
    if local.size != remote.size:
        return False
    if remote.sha256 is not None:
        return remote.sha256 == (local.sha256 or _digest(local, hashlib.sha256()))
    return remote.blob_id == _digest(local, hashlib.sha1(b"blob %d\0" % local.size))


def differences(
    local: Mapping[str, LocalFile],
    remote: Mapping[str, RemoteFile],
    *,
    owned: Callable[[str], bool],
) -> list[str]:
    """Return one phrase for each file of a revision that differs from the local files."""
    plan = make_plan(local, remote, owned=owned)
    missing = [f"{path} is missing" for path in plan.add if path not in remote]
    other = [f"{path} has different content" for path in plan.add if path in remote]
    return [*missing, *other, *(f"{path} is still there" for path in plan.delete)]


def _digest(file: LocalFile, digest: Any) -> str:
    if isinstance(file.content, bytes):
        digest.update(file.content)
    else:
        with file.content.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return str(digest.hexdigest())
