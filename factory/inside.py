"""Tells whether a file is really inside a directory, with all symbolic links followed."""

from __future__ import annotations

import os
from pathlib import Path


def is_inside(path: Path, folder: Path) -> bool:
    """Whether `path` is in `folder` after all symbolic links are followed.

    Files of a snapshot in the Hub's cache are links to `blobs` beside it; these count as inside.
    """
    # Unlike `Path.resolve`, it does not raise for links that lead in a circle.
    home = Path(os.path.realpath(folder))
    homes = [home, *([home.parents[1] / "blobs"] if home.parent.name == "snapshots" else [])]
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(one) for one in homes)


def links_out(folder: Path) -> list[Path]:
    """Return the symbolic links below a directory that leave it, sorted; hidden ones too."""
    found = []
    for parent, folders, files in os.walk(folder):
        here = [Path(parent) / name for name in (*folders, *files)]
        found += [path for path in here if path.is_symlink() and not is_inside(path, folder)]
    return sorted(found)
