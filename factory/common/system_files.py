"""Files that operating systems, file servers and editors leave in any folder they show.

They belong to nobody's dataset: they are no fault of one and are never published.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePath

_NAMES = (
    # macOS; `._NAME` is what it writes beside NAME on other file systems.
    ".ds_store",
    "._*",
    ".apdisk",
    ".localized",
    ".fseventsd",
    ".spotlight-v100",
    ".temporaryitems",
    ".trashes",
    ".documentrevisions-v100",
    ".volumeicon.icns",
    "icon\r",
    "__macosx",
    # Windows
    "thumbs.db",
    "thumbs.db:encryptable",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "$recycle.bin",
    "system volume information",
    # Linux and file servers; the first two hold files that were removed while open.
    ".nfs*",
    ".fuse_hidden*",
    ".directory",
    ".trash-*",
    "lost+found",
    ".snapshot",
    "@eadir",
    # editors and notebooks
    "*~",
    ".*.sw[a-p]",
    ".#*",
    "#*#",
    ".~lock.*#",
    ".ipynb_checkpoints",
)


def is_system_file(path: PurePath) -> bool:
    """Whether a file, or a folder that it is in, is one of a system, file server or editor.

    Args:
        path: Relative to the dataset's directory.
    """
    return any(fnmatchcase(part.lower(), name) for part in path.parts for name in _NAMES)
