"""The names of timm's models, without importing timm, which takes seconds."""

from __future__ import annotations

import difflib
import re
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

SUFFIX = "_small_stem"
"""Ends the names of our models with a small stem."""
_REGISTERED = re.compile(r"^@register_model\s+def (\w+)\(", re.MULTILINE)


def may_be_timm_model(name: str) -> bool:
    """Return False if timm has no model of a name, with or without a tag, as far as is known.

    Until timm is imported, a name that its source mentions anywhere counts: those of older versions
    have no function.
    """
    bare = name.partition(".")[0]
    if timm := sys.modules.get("timm"):
        return bool(timm.is_model(bare))
    texts = _source()
    return not texts or any(re.search(rf"\b{re.escape(bare)}\b", text) for text in texts)


def near_names(name: str) -> list[str]:
    """Return up to three names of timm's models that are similar to another one."""
    timm = sys.modules.get("timm")
    known = timm.list_models() if timm else registered_names()
    return difflib.get_close_matches(name.partition(".")[0], known, n=3)


def registered_names() -> list[str]:
    """Return the names that `timm.list_models` returns, read from timm's source, sorted."""
    return sorted({name for text in _source() for name in _REGISTERED.findall(text)})


@cache
def _source() -> list[str]:
    files = timm_files("models/*.py")
    return [file.read_text(encoding="utf-8", errors="replace") for file in files]


def timm_files(pattern: str) -> list[Path]:
    """Return files of timm's source, sorted; none if they are not where they are expected."""
    found = find_spec("timm")
    return sorted(Path(found.origin).parent.glob(pattern)) if found and found.origin else []
