"""Prompt templates: `{name}` and nothing else; `{{` and `}}` are literal braces.

Python's own `str.format` would give recipes attributes, indexes and conversions, so texts are
taken apart here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")

Value = str | int | float | bool


@dataclass(frozen=True)
class Template:
    """A text with places for values.

    Attributes:
        parts: Literal texts at even positions, names at odd ones.
    """

    parts: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names in it, in order of first appearance."""
        return tuple(dict.fromkeys(self.parts[1::2]))

    def fill(self, values: Mapping[str, Value | None]) -> str:
        """Return the text with every name replaced by its value."""
        filled = list(self.parts)
        for position in range(1, len(filled), 2):
            filled[position] = shown(values[filled[position]])
        return "".join(filled)


def shown(value: Value | None) -> str:
    """Return a value as it stands in a prompt: six significant digits, no trailing zeros."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_template(text: str) -> Template:
    """Take a text apart.

    Raises:
        ValueError: A brace without its partner, or more than a name between two braces.
    """
    parts = [""]
    end = 0
    for token in _TOKEN.finditer(text):
        parts[-1] += text[end : token.start()]
        end = token.end()
        found = token.group()
        if found in ("{{", "}}"):
            parts[-1] += found[0]
        elif len(found) == 1:
            raise ValueError(f"brace {found} has no partner; write {found * 2} for a literal brace")
        else:
            parts += [_name(found), ""]
    parts[-1] += text[end:]
    return Template(tuple(parts))


def _name(braced: str) -> str:
    inside = braced[1:-1]
    if NAME.fullmatch(inside):
        return inside
    if not inside.strip():
        raise ValueError("{} names nothing; write {class} or the name of a variable")
    bare = NAME.match(inside.strip())
    remedy = f"write {{{bare.group()}}}" if bare else "a name is letters, digits and _"
    raise ValueError(f"{braced} is more than a name; {remedy}")
