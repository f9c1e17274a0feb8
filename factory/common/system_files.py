"""Recognise files of operating systems, file servers and editors.

They are not part of a dataset: they are no faults and are never published.
"""

from fnmatch import fnmatchcase
from pathlib import PurePath

# `._NAME` accompanies NAME on other file systems.
_MACOS = """.ds_store ._* .apdisk .localized .fseventsd .spotlight-v100 .temporaryitems .trashes
    .documentrevisions-v100 .volumeicon.icns __macosx"""
_WINDOWS = """thumbs.db thumbs.db:encryptable ehthumbs.db ehthumbs_vista.db desktop.ini
    $recycle.bin"""
# The first two contain files that were removed while open.
_LINUX = ".nfs* .fuse_hidden* .directory .trash-* lost+found .snapshot @eadir"
_EDITORS = "*~ .*.sw[a-p] .#* #*# .~lock.*# .ipynb_checkpoints"
_NAMES = (
    *f"{_MACOS} {_WINDOWS} {_LINUX} {_EDITORS}".split(),
    "icon\r",
    "system volume information",
)


def is_system_file(path: PurePath) -> bool:
    """Return whether a file, or a folder that contains it, belongs to a system or editor."""
    return any(fnmatchcase(part.lower(), name) for part in path.parts for name in _NAMES)
