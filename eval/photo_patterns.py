"""Expand the glob patterns of `predict` without following links out of their folder."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from factory.common.errors import Fault
from factory.data.image_folder import link_fault, list_folder

_ANY_DEPTH = "**"


@dataclass
class Matches:
    """Files and folders that match a pattern.

    Attributes:
        folder: The part of the pattern before its first wildcard; nothing outside it is read.
        paths: What matches, sorted.
        faults: Links that are not followed, and folders that may not be listed, with the reason.
    """

    folder: Path
    paths: list[Path] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def find_matches(pattern: Path) -> Matches:
    """Expand a pattern; as in a shell, wildcards do not match names that begin with a dot."""
    parts = pattern.parts
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    found = Matches(Path(*parts[:fixed]))
    wanted = [*parts[fixed:], *(["*"] if parts[-1] == _ANY_DEPTH else [])]
    found.paths = sorted(set(_expand(found, PurePosixPath(), wanted)))
    found.faults = list(dict.fromkeys(found.faults))
    return found


def _expand(found: Matches, inside: PurePosixPath, parts: Sequence[str]) -> Iterator[Path]:
    """Yield the paths below a folder that match the rest of a pattern."""
    first, rest = parts[0], parts[1:]
    if first == _ANY_DEPTH:
        yield from _expand(found, inside, rest)
        for path in _named(found, inside, "*"):
            if _is_followed(found, path):
                yield from _expand(found, path, parts)
        return
    for path in _named(found, inside, first):
        if rest:
            yield from _expand(found, path, rest) if _is_followed(found, path) else ()
        elif not (found.folder / path).is_dir() or _is_followed(found, path):
            yield found.folder / path


def _named(found: Matches, inside: PurePosixPath, part: str) -> list[PurePosixPath]:
    """Return the entries of a folder that match one part of a pattern."""
    folder = found.folder / inside
    if not glob.has_magic(part):
        return [inside / part] if os.path.lexists(folder / part) else []
    listed = list_folder(folder, found.faults) if folder.is_dir() else []
    names = [one.name for one in listed if part.startswith(".") or not one.name.startswith(".")]
    return [inside / name for name in names if fnmatchcase(name, part)]


def _is_followed(found: Matches, path: PurePosixPath) -> bool:
    """Return whether a path is a folder, and no link to one."""
    place = found.folder / path
    if not place.is_dir():
        return False
    fault = link_fault(found.folder, path) if place.is_symlink() else None
    found.faults += [fault] if fault else []
    return not fault
