"""Tells whether a file is really inside a directory, with all symbolic links followed."""

from __future__ import annotations

import os
import re
from pathlib import Path

_SNAPSHOT = re.compile(
    r"(?P<repository>(?P<cache>.*)/(?:datasets|models|spaces)--[^/]+)/snapshots/[0-9a-f]{40}"
)


def is_inside(path: Path, folder: Path) -> bool:
    """Whether `path` is in `folder` after all symbolic links are followed.

    Files of a snapshot in the Hub's cache are links to its `blobs`; these count as inside.
    """
    # Unlike `Path.resolve`, it does not raise for links that lead in a circle.
    home = Path(os.path.realpath(folder))
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(one) for one in (home, *_blobs(home)))


def _blobs(folder: Path) -> list[Path]:
    """Return where `CACHE/models--ORG--NAME/snapshots/COMMIT` keeps its files' contents.

    huggingface_hub keeps some in the repository's `blobs`, and shares others in the cache's.
    """
    match = _SNAPSHOT.fullmatch(str(folder))
    return [Path(match[name], "blobs") for name in ("repository", "cache")] if match else []


def foreign_files(folder: Path) -> list[Path]:
    """Return what in a directory is never read nor sent, sorted.

    That is: symbolic links that leave it, pipes, devices, and links to nothing. Names at its top
    that begin with a dot belong to version control and are left out.
    """
    found = []
    for parent, folders, files in os.walk(folder):
        if Path(parent) == folder:
            folders[:] = [name for name in folders if not name.startswith(".")]
            files = [name for name in files if not name.startswith(".")]
        found += [path for name in folders if not is_inside(path := Path(parent, name), folder)]
        paths = [Path(parent, name) for name in files]
        found += [path for path in paths if not (is_inside(path, folder) and path.is_file())]
    return sorted(found)
