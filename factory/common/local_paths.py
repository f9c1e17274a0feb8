"""Resolve paths: the home directory, and whether a path is inside a directory after all links."""

import difflib
import os
import re
from contextlib import suppress
from itertools import islice
from pathlib import Path

from factory.common.errors import UserError
from factory.common.storage import entries

GENERATIONS, STAGES, WORKING = ".generations", ".gating", ".working"
OLD_CLAIMS = ".claims"
"""Temporary files of builds of earlier versions."""
COSTS = ".costs"
"""Folder of records: images and seconds of each process of a build."""
_HIDDEN = (GENERATIONS, STAGES, WORKING, OLD_CLAIMS, COSTS)
_FOLDERS = (*_HIDDEN, "data", "recipes", "card")
_FILES = ("README.md", "manifest.json", "report.html", "rounds.json", "scores.json", "marks.csv")
# Entries beside a missing directory whose names are compared with it.
_COMPARED = 1000
_SNAPSHOT = re.compile(
    r"(?P<repository>(?P<cache>.*)/(?:datasets|models|spaces)--[^/]+)/snapshots/[0-9a-f]{40}"
)


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether `path` is in `folder` after all symbolic links are resolved.

    Snapshot files in the Hub's cache are links to its `blobs`; these count as inside.
    """
    # Unlike `Path.resolve`, it does not raise for circular links.
    home = Path(os.path.realpath(folder))
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(one) for one in (home, *_blobs(home)))


def _blobs(folder: Path) -> list[Path]:
    """Return the folders with the file contents of `CACHE/models--ORG--NAME/snapshots/COMMIT`.

    huggingface_hub keeps some in the repository's `blobs`, and shares others in the cache's.
    """
    match = _SNAPSHOT.fullmatch(str(folder))
    return [Path(match[name], "blobs") for name in ("repository", "cache")] if match else []


def foreign_files(folder: Path) -> list[Path]:
    """Return the files of a directory that are never read or sent, sorted.

    These are symbolic links that leave it, pipes, devices and broken links. Top-level names that
    begin with a dot belong to version control and are ignored, except a dataset's own.
    """
    found = []
    for parent, folders, files in os.walk(folder):
        if Path(parent) == folder:
            folders[:] = [name for name in folders if _is_read(name)]
            files = [name for name in files if _is_read(name)]
        found += [path for name in folders if not is_inside(path := Path(parent, name), folder)]
        found += [path for name in files if _is_foreign(path := Path(parent, name), folder)]
    return sorted(found)


def _is_read(name: str) -> bool:
    return name in _HIDDEN or not name.startswith(".")


def _is_foreign(path: Path, folder: Path) -> bool:
    if path.is_symlink():
        return not (is_inside(path, folder) and path.is_file())
    # Markers and generations may go away meanwhile.
    return path.exists() and not path.is_file()


def missing_directory(path: Path, *, otherwise: str) -> UserError:
    """Return the error for a directory that does not exist.

    Args:
        path: The directory.
        otherwise: Advice if no directory beside it has a similar name.
    """
    beside = []
    with suppress(OSError), os.scandir(path.parent) as found:
        # Comparing the names of 10^5 runs would take seconds.
        beside = [one.name for one in islice(found, _COMPARED) if one.is_dir()]
    near = difflib.get_close_matches(path.name, beside, n=1)
    hint = f"did you mean {path.with_name(near[0])}?" if near else otherwise
    return UserError(f"{path}: directory not found; {hint}")


def require_own(out: Path) -> None:
    """Reject a dataset whose own folders or files are links to other places.

    Builds, gates and `factory tidy` write and delete in these folders, using names from its files.

    Raises:
        UserError: A folder is a link, or a file is a link out of the directory.
    """
    folders = [out / name for name in _FOLDERS]
    own = [folder for folder in folders if folder.is_dir() and not folder.is_symlink()]
    below = [path for folder in own for path in entries(folder)]
    for path in (*folders, *(out / name for name in _FILES), *below):
        if path.is_symlink() and (path.is_dir() or not is_inside(path, out)):
            raise UserError(
                f"{path}: is a link to {os.path.realpath(path)}; a dataset's folders and files "
                "must be inside its directory, because commands write and delete there. Replace "
                "the link by its target, or pass the real directory of the dataset as OUT"
            )
