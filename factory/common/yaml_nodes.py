"""YAML values with their locations, so that every message can name file, line and column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from factory.common.errors import Fault
from factory.common.text import cut

Key = str | int
KeyPath = tuple[Key, ...]
_MOST_SHOWN = 500


def clipped(text: str) -> str:
    """Return a text shortened for messages, which may quote long recipe texts."""
    return cut(text, _MOST_SHOWN)


@dataclass(frozen=True)
class Place:
    """Location of a value: a file with line and column from 1, or a command line argument."""

    file: str
    line: int | None = None
    column: int | None = None
    path: Path | None = None

    def fault(self, message: str, *, key: str | None = None) -> Fault:
        """Return a fault at this place."""
        return Fault(
            clipped(message),
            file=clipped(self.file),
            line=self.line,
            column=self.column,
            key=clipped(key) if key is not None else None,
        )


@dataclass(eq=False)
class Node:
    """A value and its location.

    Attributes:
        value: A text, number, boolean or None; or `list[Node]`; or `dict[str, Node]`.
        place: Start of the value.
        key_place: Start of its key, if it has one.
        raw: The scalar as typed, if it was not quoted.
        size: Number of nodes in it, itself included, aliases counted in full.
        text: Characters of all texts in it, aliases counted in full.
    """

    value: Any
    place: Place
    key_place: Place | None = None
    raw: str | None = None
    size: int = 1
    text: int = 0

    def plain(self) -> Any:
        """Return the value without locations, as `yaml.safe_load` would."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def find(self, path: KeyPath) -> Node:
        """Return the node at `path`, or its deepest existing ancestor."""
        node = self
        for key in path:
            child = node.child(key)
            if child is None:
                break
            node = child
        return node

    def child(self, key: Key) -> Node | None:
        """Return the node under a key or an index, or None."""
        if isinstance(self.value, dict):
            found = self.value.get(key)
            return found if isinstance(found, Node) else None
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            item = self.value[key]
            return item if isinstance(item, Node) else None
        return None

    def at_key(self, place: Place | None) -> Node:
        """Return the same value under another key."""
        return replace(self, key_place=place)


def mapping_of(values: Mapping[str, Any], place: Place) -> Node:
    """Return plain values as a node with one location for all parts."""
    return Node({key: _node_of(value, place).at_key(place) for key, value in values.items()}, place)


def _node_of(value: Any, place: Place) -> Node:
    if isinstance(value, Mapping):
        return mapping_of(value, place)
    if isinstance(value, list | tuple):
        return Node([_node_of(item, place) for item in value], place)
    return Node(value, place)
