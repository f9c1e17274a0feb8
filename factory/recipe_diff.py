"""Two recipes compared as they would be built: key by key, everything filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from factory.recipe import ResolvedRecipe
from factory.recipe_yaml import plain_recipe

# Texts for people; they change no image.
_UNSEEN = ("summary", "source", "origins")
_LONGEST = 60


@dataclass(frozen=True)
class KeyDifference:
    """A key at which two recipes differ.

    Attributes:
        key: Dotted path, e.g. `sampling.guidance_scale.uniform`.
        left: Its value in the first, None where it has no such key.
        right: In the second.
    """

    key: str
    left: Any
    right: Any

    def __str__(self) -> str:
        return f"{self.key}: {_short(self.left)} -> {_short(self.right)}"


def diff_recipes(left: ResolvedRecipe, right: ResolvedRecipe) -> list[KeyDifference]:
    """Return the keys at which two resolved recipes differ, in the recipe's order.

    Classes are compared by label. Of a combination the members' names are compared; its members are
    recipes of their own.
    """
    return list(_differences(_plain(left), _plain(right), ()))


def _plain(recipe: ResolvedRecipe) -> dict[str, Any]:
    values = plain_recipe(recipe)
    if "classes" in values:
        values["classes"] = {one["label"]: one for one in values["classes"]}
    return {key: value for key, value in values.items() if key not in _UNSEEN}


def _differences(
    left: Mapping[str, Any], right: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[KeyDifference]:
    for key in dict.fromkeys([*left, *right]):
        one, other = left.get(key), right.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differences(one, other, (*path, key))
        elif one != other:
            yield KeyDifference(".".join((*path, key)), one, other)
    if list(left) != list(right) and sorted(left) == sorted(right) and path == ("classes",):
        # The order of classes is that of labels.
        yield KeyDifference("classes", list(left), list(right))


def _short(value: Any) -> str:
    if value is None:
        return "(none)"
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
