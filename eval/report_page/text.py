"""Texts of a report: names are cut and shown on one line, numbers have few digits."""

from __future__ import annotations

import math
from typing import Any

from factory.common.redaction import cut_line

NAME, VALUE = 80, 600
"""Maximum lengths: of a class or config name, and of a value of a row."""


def name(text: object) -> str:
    """Return an untrusted name as one line."""
    return cut_line(str(text), NAME)


def value(found: Any) -> str:
    """Return a cell of a row as text; long texts are cut."""
    if found is None:
        return "none"
    if isinstance(found, float):
        return number(found)
    return cut_line(str(found), VALUE)


def number(found: float) -> str:
    """Return a number with four significant digits at most."""
    if not math.isfinite(found):
        return str(found)
    return f"{found:,.0f}" if abs(found) >= 10_000 else f"{found:.4g}"


def count(number_of: int, what: str, many: str = "") -> str:
    """Return `1 image` or `1,200 images`."""
    return f"{number_of:,} {what if number_of == 1 else many or what + 's'}"


def seconds(found: float) -> str:
    """Return a duration in its natural unit."""
    if found < 90:
        return f"{found:.3g} s"
    return f"{found / 60:.3g} min" if found < 5400 else f"{found / 3600:.3g} h"
