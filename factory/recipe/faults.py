"""Convert pydantic's errors to recipe faults: location, key, what was found, what to do."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from factory.common.errors import Fault
from factory.common.yaml_nodes import KeyPath, Node
from factory.distributions.captions import CaptionSource
from factory.distributions.continuous import MeanStd, MeanStdLowHigh
from factory.distributions.discrete import Weighted
from factory.distributions.variables import VARIABLE_KINDS
from factory.recipe.schema import Adapter, Model, Output, RecipeFile, Sampling, WeightedText

MOST_FAULTS = 100
"""Maximum per file: more are not reported, because each one needs a search for suggestions."""

# Longer lists and words take long to search, and are not typing errors.
_MOST_KNOWN = 2_000
_LONGEST_WORD = 100

_EXPONENT = re.compile(r"([-+]?[0-9]+)([eE][-+]?[0-9]+)$")
_SECTIONS: dict[str, type[BaseModel]] = {"sampling": Sampling, "model": Model, "output": Output}
_INNER: dict[str, type[BaseModel]] = {
    "normal": MeanStd,
    "truncated_normal": MeanStdLowHigh,
    "captions": CaptionSource,
}
_ITEMS: dict[str, type[BaseModel]] = {
    "prompt": WeightedText,
    "choice": Weighted,
    "adapters": Adapter,
}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` or the known names, to append to a message."""
    names = [str(one) for one in known]
    few = len(names) <= _MOST_KNOWN and len(name) <= _LONGEST_WORD
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6) if few else []
    if close:
        return f"; did you mean '{close[0]}'?"
    listed = ", ".join(sorted(names)[:20])
    return f"; known: {listed}{', ...' if len(names) > 20 else ''}" if names else ""


def error_words(error: Exception) -> str:
    """Return a system error as a short text."""
    return (error.strerror or "") if isinstance(error, OSError) else str(error)


def faults_of(error: ValidationError, node: Node) -> list[tuple[KeyPath, Fault]]:
    """Return the faults of a file with their paths."""
    errors = error.errors(include_url=False, include_input=False)[:MOST_FAULTS]
    return [_fault(one, node) for one in errors if not _misspelt(one, errors)]


def _misspelt(error: Any, errors: Iterable[Any]) -> bool:
    """Return whether a missing key exists under a misspelt name, which is reported separately."""
    if error["type"] != "missing":
        return False
    beside = [
        str(other["loc"][-1])
        for other in errors
        if other["type"] == "extra_forbidden" and other["loc"][:-1] == error["loc"][:-1]
    ]
    return bool(difflib.get_close_matches(str(error["loc"][-1]), beside, n=1))


def _fault(error: Any, root: Node) -> tuple[KeyPath, Fault]:
    path, node = _descend(error["loc"], root)
    place = node.place
    if error["type"] == "extra_forbidden":
        place = node.key_place or place
        message = _unknown_key(error["loc"])
    else:
        message = _MESSAGES.get(error["type"], _own_message)(error, node)
    return path, place.fault(message, key=".".join(map(str, path)) or None)


def _descend(location: tuple[int | str, ...], root: Node) -> tuple[KeyPath, Node]:
    """Follow a pydantic location through the nodes, skipping tags and filled-in forms."""
    path: list[int | str] = []
    node = root
    for part in location:
        if isinstance(node.value, dict) and isinstance(part, int) and node.value:
            part = list(node.value)[min(part, len(node.value) - 1)]
        child = node.child(part)
        if child is not None:
            path.append(part)
            node = child
    return tuple(path), node


def _unknown_key(location: tuple[int | str, ...]) -> str:
    key, parent = str(location[-1]), location[:-1]
    tag = str(parent[-1])[1:] if parent and str(parent[-1]).startswith("@") else None
    if tag and key in VARIABLE_KINDS:
        return f"conflicts with {tag}; keep one of them"
    return f"unknown key{nearest(key, _known_keys(parent, tag))}"


def _known_keys(parent: tuple[int | str, ...], tag: str | None) -> list[str]:
    if tag is not None:
        return list(VARIABLE_KINDS[tag].model_fields)
    last = str(parent[-1]) if parent else ""
    if len(parent) > 1 and isinstance(parent[-1], int):
        return list(_ITEMS[str(parent[-2])].model_fields)
    if len(parent) > 1:
        return list(_INNER[last].model_fields)
    return list((_SECTIONS[last] if last else RecipeFile).model_fields)


def found(node: Node) -> str:
    """Return a short description of a node's value."""
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return f"a list of {len(node.value)}" if node.value else "an empty list"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, str):
        text = node.value if len(node.value) <= 40 else f"{node.value[:37]}..."
        return f"text {text!r}"
    return str(node.raw if node.raw is not None else node.value)


def _own_message(error: Any, node: Node) -> str:
    context = error.get("ctx") or {}
    return str(context["error"] if "error" in context else error["msg"])


def _text_wanted(error: Any, node: Node) -> str:
    raw = node.raw if node.raw is not None else str(node.value)
    if isinstance(node.value, bool):
        return f"{raw} is a boolean in YAML; quote it: '{raw}'"
    if isinstance(node.value, int | float):
        return f"{raw} is a number in YAML; quote it: '{raw}'"
    return f"expected a text, found {found(node)}"


def number_message(node: Node, kind: str) -> str:
    """Return the message for an expected number, with a hint if YAML reads it as text."""
    if isinstance(node.value, str):
        match = _EXPONENT.match(node.value)
        if match and node.raw is not None:
            return f"{node.value} is text in YAML; write {match[1]}.0{match[2]}"
        if node.raw is None and re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?", node.value):
            return f"expected {kind}, found {found(node)}; remove the quotes"
    return f"expected {kind}, found {found(node)}"


def _number_wanted(kind: str) -> Callable[[Any, Node], str]:
    return lambda error, node: number_message(node, kind)


def _wanted(kind: str) -> Callable[[Any, Node], str]:
    return lambda error, node: f"expected {kind}, found {found(node)}"


def _list_wanted(error: Any, node: Node) -> str:
    key = error["loc"][-1]
    if key == "prompt" and _braces(node):
        return f"{_braces(node)} is a mapping in YAML; quote it: '{_braces(node)}'"
    if key == "prompt":
        return f"expected a text or a list of texts, found {found(node)}"
    if key in ("uniform", "loguniform", "integers"):
        return f"expected [low, high], found {found(node)}"
    if key == "choice":
        return f"expected values with weights, found {found(node)}"
    if key == "size":
        return f"expected pixels or [height, width], found {found(node)}"
    return f"expected a list, found {found(node)}"


def _braces(node: Node) -> str | None:
    """Return `{name}` if an unquoted template was read as a mapping without values."""
    if not isinstance(node.value, dict) or len(node.value) != 1:
        return None
    ((name, child),) = node.value.items()
    return f"{{{name}}}" if child.value is None else None


def _length(error: Any, node: Node) -> str:
    wanted = 2
    count = len(node.value) if isinstance(node.value, list) else 1
    return f"expected {wanted} values, found {count}"


def _missing(error: Any, node: Node) -> str:
    key = error["loc"][-1]
    if isinstance(key, int):
        return _length(error, node)
    return f"key '{key}' is missing"


def _literal(error: Any, node: Node) -> str:
    options = re.findall(r"'([^']*)'", error["ctx"]["expected"])
    close = difflib.get_close_matches(str(node.value)[:_LONGEST_WORD], options, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"expected one of {', '.join(options)}, found {found(node)}{hint}"


def _bound(word: str, name: str) -> Callable[[Any, Node], str]:
    def message(error: Any, node: Node) -> str:
        return f"{found(node)} must be {word} {error['ctx'][name]:g}"

    return message


def _no_distribution(error: Any, node: Node) -> str:
    tag = (error.get("ctx") or {}).get("tag")
    if tag:
        kind = str(tag)[1:]
        where = (
            "in `variables`" if kind in ("linked", "captions") else "in `variables` and `sampling`"
        )
        return f"{kind} is only allowed {where}"
    keys = list(node.value) if isinstance(node.value, Mapping) else []
    if not keys:
        return f"an empty mapping is not a distribution{nearest('', VARIABLE_KINDS)}"
    return f"unknown distribution '{keys[0]}'{nearest(keys[0], VARIABLE_KINDS)}"


_MESSAGES: dict[str, Callable[[Any, Node], str]] = {
    "string_type": _text_wanted,
    "string_too_short": lambda error, node: "is empty; write at least one character",
    "int_type": _number_wanted("an integer"),
    "float_type": _number_wanted("a number"),
    "finite_number": lambda error, node: f"{found(node)} is not a finite number",
    "bool_type": _wanted("true or false"),
    "tuple_type": _list_wanted,
    "dict_type": _wanted("a mapping"),
    "model_type": _wanted("a mapping"),
    "model_attributes_type": _wanted("a mapping"),
    "too_long": _length,
    "too_short": _length,
    "missing": _missing,
    "literal_error": _literal,
    "greater_than": _bound("above", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("below", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "union_tag_not_found": _no_distribution,
    "union_tag_invalid": _no_distribution,
}
