"""Keep results in one JSON file, section by section."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Results = dict[str, dict[str, Any]]
"""By section: `status` (`measured` or `failed`), figures or reason, machine, versions, date."""


def load(path: Path) -> Results:
    """Return the results in a file; none if there is no file."""
    if not path.is_file():
        return {}
    found: Results = json.loads(path.read_text(encoding="utf-8"))["sections"]
    return found


def save(path: Path, results: Mapping[str, Any]) -> None:
    """Write the results; a stopped run leaves the file before or after a section."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"sections": results}, indent=1, ensure_ascii=False)
    part = path.with_name(f".{path.name}.part")
    part.write_text(f"{text}\n", encoding="utf-8")
    part.replace(path)
