"""Ask a language model for captions: contexts, subtypes or definitions of each class.

A reply is used line by line. A line of another form, that repeats an earlier one, or that names a
class other than its own is left out and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from factory.common.errors import Failure
from factory.recipe.caption_checks import class_names
from factory.recipe.resolved import ResolvedRecipe

Kind = Literal["contexts", "subtypes", "definitions"]
Reply = Callable[[str, int], str]
"""From a request and a seed to a reply."""


@dataclass(frozen=True)
class _Form:
    """How captions of a kind are requested, and which lines are accepted.

    Attributes:
        request: Template of a request.
        fewest: Minimum number of words.
        most: Maximum number of words.
        is_shared: Whether several classes may have the same one.
    """

    request: str
    fewest: int
    most: int
    is_shared: bool = False


_LINES = "Write one per line and nothing else: no numbers, no quotes, no introduction."
_ABOUT = (
    "Each phrase describes place, background, light, weather, time of day or viewpoint, in at most "
    f"{{words}} words. Make them as different as possible. {_LINES}"
)
_OF_ANY = _Form(
    'Write {count} phrases that continue "a photo of a thing, ..." without knowing what the thing '
    f"is. Name no animal, vehicle or other main object. {_ABOUT}",
    *(2, 20),
)
_FORMS: dict[Kind, _Form] = {
    "contexts": _Form(
        'Write {count} phrases that continue "a photo of a {name}, ..." and fit a {name}. Do not '
        f"repeat the word {{name}}, and name no other main object. {_ABOUT}",
        *(2, 20),
        is_shared=True,
    ),
    "subtypes": _Form(
        'Write {count} subtypes of "{name}": kinds, breeds or models of {name} that look '
        "different from each other. Write the common name of each in the singular, in at most "
        f"{{words}} words. {_LINES}",
        *(1, 5),
    ),
    "definitions": _Form(
        'Write {count} different definitions of "{name}", each in one sentence of at most {words} '
        "words: which kind of thing it is, and its shape, parts and colours. Do not repeat the "
        f'word {{name}}, as in "a small animal with long ears". {_LINES}',
        *(4, 30),
    ),
}
KINDS = tuple(_FORMS)
_MOST_CHARACTERS = 200
_PER_REQUEST = 20
_FRUITLESS = 5
_MARKER = re.compile(r"\s*(?:[-*\u2022]|\d{1,3}[.)])\s+")
_PHRASE = re.compile(r"[^\W\d_](?:[\w ,.'\u2019()&/-])*")
_SENTENCE_END = re.compile(r"\w{3,}\. ")


@dataclass
class Captions:
    """Captions of one class, or of all.

    Attributes:
        label: The class; None for contexts of any class.
        texts: Distinct captions.
        left_out: Number of unused lines, by reason.
    """

    label: str | None
    texts: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def write_captions(
    recipe: ResolvedRecipe,
    reply: Reply,
    *,
    kind: Kind = "contexts",
    count: int,
    seed: int,
    of_any_class: bool = False,
) -> Iterator[Captions]:
    """Yield the captions of each class, or once contexts of any class.

    Args:
        recipe: Its classes are used.
        reply: The language model.
        kind: Kind of captions.
        count: Number of captions of each class.
        seed: The requests of a class depend on it and on the class alone.
        of_any_class: Ask for contexts without naming a class.

    Raises:
        Failure: The model writes no further usable lines.
    """
    form = _OF_ANY if of_any_class else _FORMS[kind]
    entries = [None] if of_any_class else list(recipe.classes)
    lines = _LineFilter(recipe, form)
    for number, entry in enumerate(entries):
        found = Captions(entry.label if entry else None)
        name = str((entry.prompt.values() or [entry.label])[0]) if entry else ""
        fruitless, attempt = 0, 0
        while len(found.texts) < count:
            asked = min(count - len(found.texts), _PER_REQUEST)
            request = form.request.format(count=asked, name=name, words=form.most)
            before = len(found.texts)
            for line in reply(request, _seed(seed, number, attempt)).splitlines():
                if len(found.texts) < count:
                    lines.take(found, line)
            attempt += 1
            fruitless = 0 if len(found.texts) > before else fruitless + 1
            if fruitless == _FRUITLESS:
                raise _too_few(found, count, kind)
        lines.close(found)
        yield found


class _LineFilter:
    """Decides which lines of replies are used."""

    def __init__(self, recipe: ResolvedRecipe, form: _Form) -> None:
        self._form = form
        self._owners, self._names = class_names(recipe)
        self._of_others: set[str] = set()

    def take(self, found: Captions, line: str) -> None:
        """Add a line of a reply, or count why it is not used."""
        text = " ".join(_MARKER.sub("", line, count=1).split())
        text = text.strip("\"'\u201c\u201d").rstrip(".,;")
        if not text:
            return
        reason = self._fault(text, found)
        if reason:
            found.left_out[reason] += 1
        else:
            found.texts.append(text)

    def close(self, found: Captions) -> None:
        """Keep the captions of a class from later classes, unless classes may share them."""
        if not self._form.is_shared:
            self._of_others.update(text.casefold() for text in found.texts)

    def _fault(self, text: str, found: Captions) -> str | None:
        words, folded = len(text.split()), text.casefold()
        if len(text) > _MOST_CHARACTERS or words > self._form.most:
            return "are too long"
        if words < self._form.fewest or not _PHRASE.fullmatch(text):
            return "are no plain phrase"
        if _SENTENCE_END.search(text):
            return "are several sentences"
        if {self._owners[one] for one in self._names.findall(folded)} - {found.label}:
            return "name another class" if found.label else "name a class"
        if self._names.fullmatch(folded):
            return "are the class itself"
        if folded in {one.casefold() for one in found.texts}:
            return "repeat an earlier one"
        return "repeat one of another class" if folded in self._of_others else None


def _seed(seed: int, number: int, attempt: int) -> int:
    return ((seed * 1_000_003 + number) * 10_007 + attempt) % 2**63


def _too_few(found: Captions, count: int, kind: Kind) -> Failure:
    reasons = ", ".join(f"{number} {reason}" for reason, number in found.left_out.most_common())
    of = f" for class {found.label}" if found.label else ""
    return Failure(
        f"the language model wrote {len(found.texts)} of {count} usable {kind}{of} "
        f"(lines left out: {reasons or 'none'}); choose a larger model, or lower --per-class"
    )
