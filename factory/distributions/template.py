"""Parse prompt templates: `{name}` and nothing else; `{{` and `}}` are literal braces.

`str.format` is not used, because it would give recipes access to attributes, indexes and
conversions.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import cast

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")

Value = str | int | float | bool


@dataclass(frozen=True)
class Template:
    """A text with placeholders.

    Attributes:
        parts: Literal texts at even positions, names at odd ones.
    """

    parts: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names in it, in order of first appearance."""
        return tuple(dict.fromkeys(self.parts[1::2]))

    def fill(self, columns: Mapping[str, Sequence[Value | None]], *, count: int) -> list[str]:
        """Return the texts of several rows, with every name replaced by the row's value.

        Args:
            columns: The values of each name, one per row.
            count: Number of rows.
        """
        if len(self.parts) == 1:
            return [self.parts[0]] * count
        cells = [
            _texts(columns[part]) if place % 2 else repeat(part, count)
            for place, part in enumerate(self.parts)
        ]
        return list(map("".join, zip(*cells, strict=True)))


def _texts(values: Sequence[Value | None]) -> Iterable[str]:
    """Return the values of a column as prompt text; texts, the most frequent ones, are kept."""
    return cast(Sequence[str], values) if set(map(type, values)) == {str} else map(shown, values)


def shown(value: Value | None) -> str:
    """Return a value as prompt text: six significant digits, no trailing zeros."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_template(text: str) -> Template:
    """Parse a template.

    Raises:
        ValueError: A brace is unmatched, or braces contain more than a name.
    """
    template, faults = examine_template(text)
    if faults:
        raise ValueError(faults[0])
    return template


@lru_cache(maxsize=1024)
def template_of(text: str) -> Template:
    """Return a parsed template; cached, because a plan has few distinct ones and many rows."""
    return parse_template(text)


def examine_template(text: str) -> tuple[Template, list[str]]:
    """Parse a template and continue after faults.

    Returns:
        The valid part of the template, and its faults, in order.
    """
    # Literal text is collected in pieces: appending to a long text copies it.
    parts: list[list[str]] = [[]]
    faults: list[str] = []
    end = 0
    for token in _TOKEN.finditer(text):
        parts[-1].append(text[end : token.start()])
        end = token.end()
        found = token.group()
        if found in ("{{", "}}"):
            parts[-1].append(found[0])
        elif len(found) == 1:
            faults.append(f"brace {found} is unmatched; write {found * 2} for a literal brace")
        else:
            try:
                parts += [[_name(found)], []]
            except ValueError as error:
                faults.append(str(error))
    parts[-1].append(text[end:])
    return Template(tuple("".join(part) for part in parts)), list(dict.fromkeys(faults))


def _name(braced: str) -> str:
    inside = braced[1:-1]
    if NAME.fullmatch(inside):
        return inside
    if not inside.strip():
        raise ValueError("{} has no name; write {class} or the name of a variable")
    bare = NAME.match(inside.strip())
    remedy = f"write {{{bare.group()}}}" if bare else "a name consists of letters, digits and _"
    raise ValueError(f"{braced} is not a name; {remedy}")
