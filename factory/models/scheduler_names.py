"""List the schedulers of the installed diffusers without importing it.

Importing diffusers takes seconds; its `__init__.py` lists its lazy imports as text.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_LISTED = re.compile(r"\"((?!Flax)[A-Z]\w*Scheduler)\"")


@cache
def scheduler_names() -> frozenset[str]:
    """Return the scheduler classes of diffusers; empty if it is not installed."""
    found = find_spec("diffusers")
    if found is None or found.origin is None:
        return frozenset()
    return frozenset(_LISTED.findall(Path(found.origin).read_text(encoding="utf-8")))
