"""Ask a language model for contexts: phrases that continue "a photo of a {class}, ...".

A reply is used line by line. A line that is no plain phrase, repeats an earlier one, or names a
class other than its own is left out and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from factory.common.errors import Failure
from factory.recipe.caption_checks import class_names
from factory.recipe.resolved import ResolvedRecipe

Reply = Callable[[str, int], str]
"""From a request and a seed to a reply."""

_ABOUT = (
    "Each phrase describes place, background, light, weather, time of day or viewpoint, in at most "
    "{words} words. Make them as different as possible. Write one phrase per line and nothing "
    "else: no numbers, no quotes, no introduction."
)
_OF_CLASS = (
    'Write {count} phrases that continue "a photo of a {name}, ..." and fit a {name}. Do not '
    f"repeat the word {{name}}, and name no other main object. {_ABOUT}"
)
_OF_ANY = (
    'Write {count} phrases that continue "a photo of a thing, ..." without knowing what the thing '
    f"is. Name no animal, vehicle or other main object. {_ABOUT}"
)
_MOST_WORDS, _MOST_CHARACTERS = 20, 200
_PER_REQUEST = 20
_FRUITLESS = 5
_MARKER = re.compile(r"\s*(?:[-*\u2022]|\d{1,3}[.)])\s+")
_PHRASE = re.compile(r"[^\W\d_](?:[\w ,.'\u2019()&/-])*")


@dataclass
class Contexts:
    """Contexts of one class, or of all.

    Attributes:
        label: The class; None for contexts of any class.
        texts: Distinct phrases.
        left_out: Number of unused lines, by reason.
    """

    label: str | None
    texts: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def write_contexts(
    recipe: ResolvedRecipe, reply: Reply, *, count: int, seed: int, of_any_class: bool = False
) -> Iterator[Contexts]:
    """Yield the contexts of each class, or once those of any class.

    Args:
        recipe: Its classes are used.
        reply: The language model.
        count: Number of contexts of each class.
        seed: A class's contexts depend on it and on the class alone.
        of_any_class: Ask without naming a class.

    Raises:
        Failure: The model writes no further usable lines.
    """
    entries = [None] if of_any_class else list(recipe.classes)
    owners, pattern = class_names(recipe)
    for number, entry in enumerate(entries):
        found = Contexts(entry.label if entry else None)
        name = str((entry.prompt.values() or [entry.label])[0]) if entry else ""
        fruitless, attempt = 0, 0
        while len(found.texts) < count:
            asked = min(count - len(found.texts), _PER_REQUEST)
            template = _OF_CLASS if entry else _OF_ANY
            request = template.format(count=asked, name=name, words=_MOST_WORDS)
            before = len(found.texts)
            for line in reply(request, _seed(seed, number, attempt)).splitlines():
                others = {owners[one] for one in pattern.findall(line.casefold())}
                if len(found.texts) < count:
                    _take(found, line, others - {found.label})
            attempt += 1
            fruitless = 0 if len(found.texts) > before else fruitless + 1
            if fruitless == _FRUITLESS:
                raise _too_few(found, count)
        yield found


def _take(found: Contexts, line: str, others: set[str]) -> None:
    """Add a line of a reply, or count why it is not used."""
    text = " ".join(_MARKER.sub("", line, count=1).split()).strip("\"'\u201c\u201d").rstrip(".,;")
    if not text:
        return
    reason = _fault(text)
    if reason is None and others:
        reason = "name another class" if found.label else "name a class"
    if reason is None and text.casefold() in {one.casefold() for one in found.texts}:
        reason = "repeat an earlier one"
    if reason:
        found.left_out[reason] += 1
    else:
        found.texts.append(text)


def _fault(text: str) -> str | None:
    if len(text) > _MOST_CHARACTERS or len(text.split()) > _MOST_WORDS:
        return "are too long"
    if len(text.split()) < 2 or not _PHRASE.fullmatch(text):
        return "are no plain phrase"
    return None


def _seed(seed: int, number: int, attempt: int) -> int:
    return ((seed * 1_000_003 + number) * 10_007 + attempt) % 2**63


def _too_few(found: Contexts, count: int) -> Failure:
    reasons = ", ".join(f"{number} {reason}" for reason, number in found.left_out.most_common())
    of = f" for class {found.label}" if found.label else ""
    return Failure(
        f"the language model wrote {len(found.texts)} of {count} usable contexts{of} "
        f"(lines left out: {reasons or 'none'}); choose a larger model, or lower --per-class"
    )
