"""Find prompt words that a small model does not know.

A pipeline folder may contain `words.txt`, the words of its training captions, most frequent first;
that of the embedded generator does. A model without this file is assumed to know every word.
"""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from factory.common.errors import Fault
from factory.common.text import some
from factory.common.untrusted_files import read_text
from factory.distributions.template import parse_template, shown
from factory.distributions.variables import Quantity
from factory.models.embedded import (
    EMBEDDED_CLASSES,
    EMBEDDED_ID,
    EMBEDDED_MEASURED,
    embedded_dir,
)
from factory.recipe.resolved import ResolvedRecipe

FILE_NAME = "words.txt"
_WORD = re.compile(r"[\w'-]+")
_MOST_WORDS = 5
_LEAST_LETTERS = 4
"""Shorter words resemble unrelated ones: 'at' and 'cat'."""
# They carry no content that a model could miss.
_STOP_WORDS = """\
    a about above across after against along also among an and any are around as at be because
    been before behind being below beneath beside between both but by can could do does doing
    down during each either every few for from get gets had has have having he her here him
    his how i if in inside into is it its itself just like may might more most my near no nor
    not of off on onto or other our out outside over own per same she should so some still
    such than that the their them then there these they this those through to too toward
    towards under until up upon us very was we were what when where which while who whose will
    with within without would you your
"""
_MAX_BYTES = 16_000_000


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, in order."""
    return _WORD.findall(text.lower())


@cache
def known_words(model_id: str) -> frozenset[str] | None:
    """Return the words of a model's training captions, or None without a list."""
    folder = embedded_dir() if model_id == EMBEDDED_ID else Path(model_id)
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    return frozenset(read_text(path, max_bytes=_MAX_BYTES).split())


def unknown_words(recipe: ResolvedRecipe) -> Iterator[Fault]:
    """Yield one warning about the words of a recipe's prompts that its model does not know.

    It names the first ones, each with the most similar known word, and counts the rest. Stop words
    are ignored.
    """
    known = known_words(recipe.model.id)
    if known is None or recipe.is_combination:
        return
    ignored = known.union(_STOP_WORDS.split())
    said = (word for text in _texts(recipe) for word in words_of(text))
    unknown = [word for word in dict.fromkeys(said) if word not in ignored]
    if unknown:
        named = ", ".join(_with_nearest(word, known) for word in unknown[:_MOST_WORDS])
        more = f" and {len(unknown) - _MOST_WORDS} more" if len(unknown) > _MOST_WORDS else ""
        yield recipe.fault(
            f"{recipe.model.id} does not know these prompt words: {named}{more}; images may not "
            "match the prompt. Use other words, or a larger model (e.g. --model sd15)",
            "prompt",
        )


def rare_classes(recipe: ResolvedRecipe) -> Iterator[Fault]:
    """Yield one warning about known classes that are not main ones of the embedded generator."""
    known = known_words(recipe.model.id)
    if recipe.model.id != EMBEDDED_ID or known is None or recipe.is_combination:
        return
    names = {name for one in recipe.prompt for name in parse_template(one.text).names}
    said = [
        text for name in ("class", "label") if name in names for text in values_of(recipe, name)
    ]
    rare = [text for text in dict.fromkeys(said) if _is_rare(text, known)]
    if rare:
        yield recipe.fault(
            f"{recipe.model.id} knows these class names, but they are not among its main classes: "
            f"{some([repr(one) for one in rare], _MOST_WORDS)}. {EMBEDDED_MEASURED}. Check a "
            "preview before you build, or use a larger model (e.g. --model sd15)",
            "classes",
        )


def word_warnings(recipe: ResolvedRecipe) -> Iterator[Fault]:
    """Yield the warnings about words that a recipe's model may not be able to show."""
    yield from unknown_words(recipe)
    yield from rare_classes(recipe)


def _is_rare(text: str, known: frozenset[str]) -> bool:
    words = words_of(text)
    if not words or not known.issuperset(words):
        return False
    return not {words[-1], words[-1].removesuffix("s")} & EMBEDDED_CLASSES


def _with_nearest(word: str, known: frozenset[str]) -> str:
    near = get_close_matches(word, known, n=1, cutoff=0.75) if len(word) >= _LEAST_LETTERS else []
    return f"'{word}' (near: '{near[0]}')" if near else f"'{word}'"


def _texts(recipe: ResolvedRecipe) -> Iterator[str]:
    """Yield every text that can occur in a prompt: its own words and the values of its names."""
    for text in (*(one.text for one in recipe.prompt), recipe.negative_prompt):
        template = parse_template(text)
        yield from template.parts[::2]
        for name in template.names:
            yield from values_of(recipe, name)


def values_of(recipe: ResolvedRecipe, name: str) -> Iterator[str]:
    """Yield the texts that a name in a prompt stands for, if they can be listed."""
    if name == "label":
        yield from recipe.labels
        return
    quantities: list[Quantity]
    if name == "class":
        quantities = [entry.prompt for entry in recipe.classes]
    else:
        quantities = [column.quantity for column in recipe.columns if column.name == name]
    for quantity in quantities:
        yield from (shown(value) for value in quantity.values() or ())
