"""Write the words of command lines from recorded values, which may be a stranger's."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from factory.data.left_out import needs_skipping
from factory.hub.ids import is_commit

_ON_THE_HUB = re.compile(r"((?:hf://datasets/)?[^/@\s]+/[^/@\s]+)(/[^@]*)?")
_LONGEST_MAP = 20_000

USUAL_COLUMNS = {"--image-column": "image", "--label-column": "label"}
"""Columns that commands find by themselves."""


def words(options: Mapping[str, Any], usual: Mapping[str, str] | None = None) -> list[str]:
    """Return options as they are typed.

    Args:
        options: Values; None and False leave the option out, True types it without a value.
        usual: Values that commands find by themselves; left out.
    """
    found: list[str] = []
    for key, value in options.items():
        if value is None or value is False or value == (usual or {}).get(key):
            continue
        if value is True:
            found.append(key)
        elif str(value).startswith("-"):
            found.append(f"{key}={value}")  # Alone, it would be an option.
        else:
            found += [key, str(value)]
    return found


def mapping(value: Any) -> dict[str, Any]:
    """Return a mapping of a stranger's file; empty if it is none."""
    return value if isinstance(value, dict) else {}


def reference(found: Any, commit: Any, *, otherwise: str) -> str:
    """Return a dataset or model as typed; of the Hub, at the commit that was read."""
    text = found if isinstance(found, str) and found else otherwise
    if is_commit(commit):
        plain, _, revision = text.partition("@")
        of_hub = _ON_THE_HUB.fullmatch(plain)
        # A path may follow the revision of an address; it keeps the revision that was given.
        if of_hub and ("://" not in text or not revision):
            return f"{of_hub[1]}@{commit}{of_hub[2] or ''}"
    return f"./{text}" if text.startswith("-") else text


def skipped_some(num_unreadable: Any, left_out: Any) -> bool:
    """Return whether a command left out what it refuses without `--skip-unreadable`."""
    return bool(num_unreadable) or needs_skipping(mapping(left_out))


class LabelMaps:
    """The label maps of all commands of a page, as files that the first commands write."""

    def __init__(self) -> None:
        """Begin without any."""
        self._files: dict[str, str] = {}

    def file(self, pairs: Any) -> str | None:
        """Return the name of the file with a map; None without a map."""
        if not mapping(pairs):
            return None
        # JSON is YAML, and one line.
        text = json.dumps(pairs, ensure_ascii=False)
        return self._files.setdefault(text, f"labels-{len(self._files) + 1}.yaml")

    def lines(self) -> list[str]:
        """Return a command per file that writes it."""
        return [
            f"printf '%s\\n' {shlex.quote(text)} > {name}"
            if len(text) <= _LONGEST_MAP
            else f"# {name}: too long for this page; it is `label_map` of the run's config.yaml, "
            "or `labels.map` of its scores"
            for text, name in self._files.items()
        ]


def places(folders: list[Path]) -> dict[Path, str]:
    """Return a path below `runs` for each run folder, so that no two have the same.

    Runs of one name, e.g. those of a seed for each config, keep the folders above it that differ.
    """
    found = {one: one.resolve() for one in folders}
    unique, length = set(found.values()), 1
    while len({one.parts[-length:] for one in unique}) < len(unique):
        length += 1
    names = {one: path.relative_to(path.anchor).parts[-length:] for one, path in found.items()}
    return {one: Path("runs", *parts).as_posix() for one, parts in names.items()}
