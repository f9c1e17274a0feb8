"""Read YAML safely and record the location of each value.

Nodes are built from the parser's events, not by `yaml.safe_load`: nesting depth, size after aliases
and duplicate keys are checked before memory grows, and every `Node` has its file, line and column.
The result is plain data: texts, numbers, booleans, null, lists and mappings with text keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from factory.common.errors import Fault, UserError
from factory.common.yaml_nodes import Node, Place
from factory.common.yaml_scalars import refuse_tag, scalar

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels; use fewer lists and mappings inside others"
MAX_NODES = 100_000
MAX_TOTAL_TEXT = 5_000_000
"""Characters of all texts, aliases counted in full."""


@dataclass(frozen=True)
class Limits:
    """Size limits for a file.

    Attributes:
        max_nodes: Maximum number of values, aliases counted in full.
        empty: Message for an empty file.
    """

    max_nodes: int = MAX_NODES
    empty: str = "is empty; a recipe starts with `classes:` or `extends:`"


RECIPE = Limits()


def read(path: Path, *, shown: str | None = None) -> Node:
    """Read a YAML file.

    Raises:
        UserError: The file is missing, not text, too large, empty, or not valid YAML.
    """
    name = shown or str(path)
    if path.is_dir():
        raise UserError(Fault("is a directory; expected a YAML file", file=name))
    try:
        with path.open("rb") as file:
            # Not the size reported by the system: some files report none and never end.
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UserError(
                Fault(f"is larger than {MAX_BYTES:,} bytes, the limit for recipes", file=name)
            )
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(Fault("file not found", file=name)) from None
    except OSError as error:
        raise UserError(Fault(f"cannot be read ({error.strerror})", file=name)) from None
    except UnicodeDecodeError as error:
        raise UserError(
            Fault(f"is not UTF-8 text (byte {error.start}); save it as UTF-8", file=name)
        ) from None
    return parse(text, file=name, path=path)


def parse(
    text: str,
    *,
    file: str,
    placed: bool = True,
    path: Path | None = None,
    limits: Limits = RECIPE,
) -> Node:
    """Parse YAML text.

    Args:
        text: One document.
        file: Name in messages.
        placed: False for command line arguments, which have no line and column.
        path: The file itself.
        limits: Size limits.

    Raises:
        UserError: The text is empty, not valid YAML, or beyond the limits.
    """
    builder = _Builder(file, placed=placed, path=path, max_nodes=limits.max_nodes)
    try:
        # PyYAML's pure parser rejects characters that libyaml accepts; newer libyaml limits the
        # depth itself. Neither has other limits.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        try:
            while loader.check_event():
                builder.take(loader.get_event(), loader)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise UserError(_syntax_fault(error, builder)) from None
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", None) or str(error).splitlines()[0]
        raise UserError(Fault(f"is not valid YAML: {reason}", file=file)) from None
    except UnicodeEncodeError:
        raise UserError(
            Fault(
                "contains a lone surrogate (\\ud800 to \\udfff), which is not text; remove it",
                file=file,
            )
        ) from None
    if builder.root is None:
        raise UserError(Fault(limits.empty, file=file))
    return builder.root


def _syntax_fault(error: yaml.MarkedYAMLError, builder: _Builder) -> Fault:
    mark = error.problem_mark or error.context_mark
    problem = " ".join(str(error.problem or error.context or "syntax error").split())
    if "nesting depth" in problem:
        # Newer libyaml scans ahead and fails before the first event of a deep list.
        return builder.place(mark).fault(TOO_DEEP)
    hint = ""
    if "mapping values are not allowed" in problem:
        hint = "; quote texts that contain ': '"
    elif "found character" in problem and "\\t" in repr(problem):
        hint = "; indent with spaces, not tabs"
    return builder.place(mark).fault(f"is not valid YAML here: {problem}{hint}")


@dataclass
class _Open:
    """A list or mapping that is not closed yet."""

    node: Node
    anchor: str | None
    key: Node | None = None


@dataclass
class _Builder:
    """Turns parser events into nodes with its own stack, so that depth cannot exhaust Python's."""

    file: str
    placed: bool = True
    path: Path | None = None
    max_nodes: int = MAX_NODES
    root: Node | None = None
    documents: int = 0
    count: int = 0
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)

    def place(self, mark: Any) -> Place:
        if mark is None or not self.placed:
            return Place(self.file)
        return Place(self.file, mark.line + 1, mark.column + 1, self.path)

    def take(self, event: yaml.Event, loader: Any) -> None:
        place = self.place(event.start_mark)
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise UserError(place.fault("a second document starts here; keep one per file"))
        elif isinstance(event, yaml.ScalarEvent):
            node = scalar(event, place, loader)
            self._add(self._anchored(node, event.anchor))
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._start(event, place)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            done = self.stack.pop()
            self._add(self._anchored(done.node, done.anchor))
        elif isinstance(event, yaml.AliasEvent):
            self._alias(str(event.anchor), place)

    def _start(self, event: Any, place: Place) -> None:
        refuse_tag(event.tag, place)
        if len(self.stack) >= MAX_DEPTH:
            raise UserError(place.fault(TOO_DEEP))
        empty: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        self.stack.append(_Open(Node(empty, place), event.anchor))

    def _alias(self, anchor: str, place: Place) -> None:
        if anchor not in self.anchors:
            raise UserError(
                place.fault(f"alias *{anchor} is used before its anchor &{anchor} ends")
            )
        found = self.anchors[anchor]
        self._add(Node(found.value, place, raw=found.raw, size=found.size, text=found.text))

    def _anchored(self, node: Node, anchor: str | None) -> Node:
        if anchor:
            self.anchors[anchor] = node
        return node

    def _add(self, node: Node) -> None:
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        parent.node.size += node.size
        parent.node.text += node.text
        if parent.node.size > self.max_nodes:
            raise UserError(node.place.fault(f"contains more than {self.max_nodes:,} values"))
        if parent.node.text > MAX_TOTAL_TEXT:
            raise UserError(node.place.fault(f"contains more than {MAX_TOTAL_TEXT:,} characters"))
        if isinstance(parent.node.value, list):
            parent.node.value.append(node)
        elif parent.key is None:
            parent.key = _checked_key(node, parent.node)
        else:
            parent.node.value[parent.key.value] = node.at_key(parent.key.place)
            parent.key = None


def _checked_key(node: Node, mapping: Node) -> Node:
    """Return the key as a node with a text value; numbers and booleans keep the typed text."""
    if isinstance(node.value, dict | list):
        raise UserError(node.place.fault("a key must be a text, not a list or mapping"))
    if node.value == "<<" and node.raw is not None:
        raise UserError(node.place.fault("merge keys (<<) are not supported; use `extends`"))
    if not isinstance(node.value, str):
        if isinstance(node.value, bool) or node.value is None:
            raise UserError(
                node.place.fault(f"key {node.raw or 'null'} is not text in YAML; quote it")
            )
        node = Node(node.raw, node.place, raw=node.raw)
    first = mapping.value.get(node.value)
    if isinstance(first, Node) and first.key_place is not None:
        where = f" (line {first.key_place.line})" if first.key_place.line else ""
        raise UserError(node.place.fault(f"key {node.value!r} occurs twice{where}; remove one"))
    return node
