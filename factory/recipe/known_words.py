"""Words a small model knows: which words of a recipe's prompts it has never been told.

A pipeline folder may hold `words.txt`, the words of its training captions, most frequent first; the
embedded generator's does. A model without one is taken to know everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from factory.common.errors import Fault
from factory.common.outside import read_text
from factory.distributions.template import parse_template, shown
from factory.models.embedded import EMBEDDED_ID, embedded_dir
from factory.recipe.resolved import ResolvedRecipe

FILE_NAME = "words.txt"
_WORD = re.compile(r"[\w'-]+")
_MOST_WORDS = 8
_MAX_BYTES = 16_000_000


def words_of(text: str) -> list[str]:
    """Return the words of a text, lower case, in order."""
    return _WORD.findall(text.lower())


@cache
def known_words(model_id: str) -> frozenset[str] | None:
    """Return the words a model was told in training, or None where nobody has listed them."""
    folder = embedded_dir() if model_id == EMBEDDED_ID else Path(model_id)
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    return frozenset(read_text(path, max_bytes=_MAX_BYTES).split())


def unknown_words(recipe: ResolvedRecipe) -> Iterator[Fault]:
    """Yield one warning that names the words of a recipe's prompts that its model doesn't know.

    With each word stands the nearest known one, if any is near.
    """
    known = known_words(recipe.model.id)
    if known is None or recipe.is_combination:
        return
    said = (word for text in _texts(recipe) for word in words_of(text))
    unknown = [word for word in dict.fromkeys(said) if word not in known]
    if unknown:
        named = ", ".join(_with_nearest(word, known) for word in unknown[:_MOST_WORDS])
        more = f" and {len(unknown) - _MOST_WORDS} more" if len(unknown) > _MOST_WORDS else ""
        yield recipe.fault(
            f"{recipe.model.id} was never told {named}{more}; it reads such words in pieces that "
            "mean little to it: reword, or name a --model that knows them",
            "prompt",
        )


def _with_nearest(word: str, known: frozenset[str]) -> str:
    near = get_close_matches(word, known, n=1, cutoff=0.75)
    return f"'{word}' (near: '{near[0]}')" if near else f"'{word}'"


def _texts(recipe: ResolvedRecipe) -> Iterator[str]:
    """Yield every text that can stand in a prompt: its own words and the values of its names."""
    columns = {column.name: column.quantity for column in recipe.columns}
    for text in (*(one.text for one in recipe.prompt), recipe.negative_prompt):
        template = parse_template(text)
        yield from template.parts[::2]
        for name in template.names:
            if name == "label":
                yield from recipe.labels
            elif name == "class":
                for entry in recipe.classes:
                    yield from (shown(value) for value in entry.prompt.values() or ())
            else:
                yield from (shown(value) for value in columns[name].values() or ())
