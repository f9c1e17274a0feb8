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


@dataclass(frozen=True)
class Request:
    """A request to a language model.

    Attributes:
        text: The request.
        example: The same request about something else, and a good reply to it.
        most_tokens: Limit of the reply's length; small models may repeat themselves endlessly.
        seed: Seed of the sampled reply.
    """

    text: str
    example: tuple[str, str]
    most_tokens: int
    seed: int


Reply = Callable[[Request], str]
"""From a request to a reply."""


@dataclass(frozen=True)
class _Form:
    """How captions of a kind are requested, and which lines are accepted.

    Attributes:
        request: Template of a request.
        examples: Lines of good replies, about each of `_OBJECTS`. Small models do not write lines
            without one.
        fewest: Minimum number of words.
        most: Maximum number of words.
        is_shared: Whether several classes may have the same one.
    """

    request: str
    examples: tuple[str, str]
    fewest: int
    most: int
    is_shared: bool = False


# Objects of examples, with parts of words that tell a class like them: the request for such a class
# would be the example's, and good replies to it would repeat the example.
_OBJECTS = {"bicycle": ("cycl", "bike", "tandem"), "suitcase": ("case", "bag", "luggage")}
_LINES = "Write one per line and nothing else: no numbers, no quotes, no introduction."
_ABOUT = (
    "Each phrase describes place, background, light, weather, time of day or viewpoint, in at most "
    f"{{words}} words. Make them as different as possible. {_LINES}"
)
_PLACES = """\
leaning on a brick wall in warm evening light
on a wet street at night, seen from above
in front of a red door, close up
on a mountain path in thick fog
in tall grass on a sunny afternoon, seen from the side"""
_ANYWHERE = (_PLACES, _PLACES)
_OF_ANY = _Form(
    'Write {count} phrases that continue "a photo of a thing, ..." without knowing what the thing '
    f"is. Name no animal, vehicle or other main object. {_ABOUT}",
    *(_ANYWHERE, 2, 20),
)
_FORMS: dict[Kind, _Form] = {
    "contexts": _Form(
        'Write {count} phrases that continue "a photo of a {name}, ..." and fit a {name}. Do not '
        f"repeat the word {{name}}, and name no other main object. {_ABOUT}",
        *(_ANYWHERE, 2, 20),
        is_shared=True,
    ),
    "subtypes": _Form(
        'Write {count} subtypes of "{name}": kinds, breeds or models of {name} that look '
        "different from each other. Write the common name of each in the singular, in at most "
        f"{{words}} words. {_LINES}",
        (
            "mountain bike\nroad bike\ntandem\nfolding bike\ncargo bike",
            "trolley case\nleather suitcase\nduffel bag\nhard-shell suitcase\nsteamer trunk",
        ),
        *(1, 5),
    ),
    "definitions": _Form(
        'Write {count} different definitions of "{name}", each in one sentence of at most {words} '
        "words: which kind of thing it is, and its shape, parts and colours. Do not repeat the "
        f'word {{name}}, as in "a small animal with long ears". {_LINES}',
        (
            "a vehicle with two thin wheels, a metal frame, a seat and handlebars\n"
            "a light machine with pedals and a chain that turns the rear wheel\n"
            "a narrow frame of painted tubes between two spoked wheels",
            "a flat box with a lid, a handle and two metal locks\n"
            "a hard shell on small wheels with a long handle that slides out\n"
            "a container of brown leather with rounded corners and straps",
        ),
        *(4, 30),
    ),
}
KINDS = tuple(_FORMS)
_MOST_CHARACTERS = 200
_PER_REQUEST = 20
_FRUITLESS = 5
_TOKENS_PER_WORD = 2
_EXTRA_LINES = 5
_MARKER = re.compile(r"\s*(?:[-*\u2022]|\d{1,3}[.)])\s+")
_PHRASE = re.compile(r"[^\W\d_](?:[\w ,.'\u2019()&/-])*")
# "I've chosen a cat", "your cat on the couch": comments of a chat, or no words of a caption. Not
# "World War I biplane", "US mail plane", "Me 262", "I-beam bridge".
_SPEAKER = re.compile(
    r"(?:^|[,.(/&]\s*|(?<!\w)[a-z][\w'\u2019]*\s)I(?![\w-])"
    r"|(?<!\w)(?:i|[Mm]e(?! \d)|[Mm]y|[Yy]our?|[Ww]e|[Uu]s|[Oo]ur)(?!\w)"
)
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
        about = _unlike(f"{found.label} {name}")
        lines.begin(about)
        fruitless, attempt = 0, 0
        while len(found.texts) < count:
            asked = min(count - len(found.texts), _PER_REQUEST)
            request = _request(form, asked, name, about, seed=_seed(seed, number, attempt))
            before = len(found.texts)
            for line in reply(request).splitlines():
                if len(found.texts) < count:
                    lines.take(found, line)
            attempt += 1
            fruitless = 0 if len(found.texts) > before else fruitless + 1
            if fruitless == _FRUITLESS:
                raise _too_few(found, count, kind)
        lines.close(found)
        yield found


def _unlike(name: str) -> int:
    """Return the number of an object that a class is not like."""
    like = [any(part in name.casefold() for part in parts) for parts in _OBJECTS.values()]
    return like.index(False) if False in like else 0


def _request(form: _Form, count: int, name: str, about: int, *, seed: int) -> Request:
    example = form.examples[about]
    shown = len(example.splitlines())
    asked = form.request.format(count=shown, name=list(_OBJECTS)[about], words=form.most)
    return Request(
        text=form.request.format(count=count, name=name, words=form.most),
        example=(asked, example),
        most_tokens=(count + _EXTRA_LINES) * form.most * _TOKENS_PER_WORD,
        seed=seed,
    )


class _LineFilter:
    """Decides which lines of replies are used."""

    def __init__(self, recipe: ResolvedRecipe, form: _Form) -> None:
        self._form = form
        self._owners, self._names = class_names(recipe)
        self._of_others: set[str] = set()
        self._example: set[str] = set()

    def begin(self, about: int) -> None:
        """Expect replies to requests with the example about an object."""
        self._example = set(self._form.examples[about].casefold().splitlines())

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
        if folded in self._example:
            return "repeat the example"
        if _SPEAKER.search(text):
            return "speak of the writer or reader"
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
