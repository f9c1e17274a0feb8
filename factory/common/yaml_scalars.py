"""Convert and check YAML scalars: texts, numbers and booleans of a recipe."""

import re
from typing import Any

import yaml

from factory.common.errors import UserError
from factory.common.redaction import holds_token
from factory.common.yaml_nodes import Node, Place

MAX_TEXT = 20_000
"""Maximum characters of one text; prompts have a few hundred."""

_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)$")
_HEXADECIMAL = re.compile(r"[-+]?0x[0-9a-fA-F_]+$")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?$")
# Control characters, bidirectional controls, and unpaired surrogates.
_ODD = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_TRUE = {"yes", "true", "on"}
_CORE = "tag:yaml.org,2002:"
_PLAIN_TAGS = {f"{_CORE}{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")}
# YAML 1.1 also guesses these; recipes do not use dates, `=` and the like, so they stay text.
_GUESSED_TEXT = {f"{_CORE}timestamp", f"{_CORE}value"}


def refuse_tag(tag: str | None, place: Place) -> None:
    """Reject tags that would create objects from data."""
    if tag is not None and tag not in _PLAIN_TAGS and tag != "!":
        raise UserError(place.fault(f"tag {tag} is not allowed; use plain values only"))


def refuse_odd_text(text: str, place: Place) -> None:
    """Reject characters that recipes never need and that would reach rows and terminals."""
    if len(text) > MAX_TEXT:
        raise UserError(
            place.fault(
                f"is a text of {len(text):,} characters; the limit is {MAX_TEXT:,}: shorten it"
            )
        )
    odd = _ODD.search(text)
    if odd:
        raise UserError(
            place.fault(f"contains the invisible character U+{ord(odd[0]):04X}; remove it")
        )
    if holds_token(text):
        raise UserError(
            place.fault(
                "contains an access token; recipes are published with their dataset: remove it"
            )
        )


def scalar(event: Any, place: Place, loader: Any) -> Node:
    """Return a scalar event as a node; `loader` knows how YAML reads plain texts."""
    refuse_tag(event.tag, place)
    text: str = event.value
    refuse_odd_text(text, place)
    tag = event.tag
    if tag is None or tag == "!":
        tag = loader.resolve(yaml.ScalarNode, text, event.implicit)
    if not event.implicit[0] or tag in _GUESSED_TEXT or tag == f"{_CORE}merge":
        raw = text if event.implicit[0] else None
        return Node(text, place, raw=raw, text=len(text))
    return Node(_value(text, tag, place), place, raw=text, text=len(text))


def _value(text: str, tag: str, place: Place) -> Any:
    if tag == f"{_CORE}null":
        return None
    if tag == f"{_CORE}bool":
        return text.lower() in _TRUE
    if tag == f"{_CORE}int":
        if _DECIMAL.match(text) and len(text) <= 4000:
            return int(text.replace("_", ""))
        if _HEXADECIMAL.match(text):
            return int(text.replace("_", ""), 16)
        raise UserError(
            place.fault(
                f"{text[:40]} would be read as an octal, binary or base-60 number; quote it"
            )
        )
    if tag == f"{_CORE}float":
        if _FLOAT.match(text):
            return float(text.replace("_", ""))
        raise UserError(
            place.fault(
                f"{text} is not a valid number; write a finite decimal number such as 7.5, or "
                "quote it"
            )
        )
    return text
