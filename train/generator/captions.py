"""Captions: what is known of a picture, said in varied words.

A caption is drawn anew each time a picture is used. Those of digits follow the wordings that
prompts use: bare ("handwritten seven"), generic ("an image of a seven"), or with a domain ("a
chalk drawing of a handwritten seven").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from train.generator.domains import DOMAINS

Facts = dict[str, str]

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
GENERIC = ("image", "image", "image", "picture")


class Captioner(Protocol):
    """Draws a caption for what is known of a picture."""

    def __call__(self, facts: Facts, rng: np.random.Generator) -> str:
        """Return a caption without regard to the empty ones."""
        ...


def with_article(words: str) -> str:
    """Put "a" or "an" before a noun phrase: an eight, an 8, a one, an image."""
    first = words.split()[0]
    an = first[0] in "aeiou8" and first not in ("one", "unit", "used")
    return f"{'an' if an else 'a'} {words}"


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def digit_phrase(digit: int, *, printed: bool, rng: np.random.Generator) -> str:
    """Name a digit without an article: "handwritten seven", "seven", "7", "digit seven"."""
    word = str(digit) if rng.random() < 0.1 else WORDS[digit]
    style = ("printed " if printed else "handwritten ") if rng.random() < 0.62 else ""
    noun = _pick(("digit ", "number "), rng) if rng.random() < 0.1 else ""
    return f"{style}{noun}{word}"


def _definite(phrase: str) -> str:
    """Return "the digit seven" for "digit seven", else the phrase with a or an."""
    named = "digit " in phrase or "number " in phrase
    return f"the {phrase}" if named else with_article(phrase)


def caption_digit(facts: Facts, rng: np.random.Generator) -> str:
    """Caption a digit; `facts` has digit, printed ("yes" or "no") and domain."""
    domain = DOMAINS[facts["domain"]]
    printed = facts["printed"] == "yes"
    phrase = digit_phrase(int(facts["digit"]), printed=printed, rng=rng)
    chance = rng.random()
    if rng.random() < domain.generic:
        if chance < 0.45:
            return f"{with_article(_pick(GENERIC, rng))} of {_definite(phrase)}"
        return phrase if chance < 0.85 else _definite(phrase)
    word = _pick(domain.words, rng)
    if chance < 0.2 and domain.place:
        return f"{_definite(phrase)} {domain.place}"
    if chance < 0.3:
        return f"{with_article(word)} of {phrase}"
    if chance < 0.4:
        return f"{phrase}, {word}"
    return f"{with_article(word)} of {_definite(phrase)}"


def caption_named(facts: Facts, rng: np.random.Generator) -> str:
    """Caption a picture of which a caption, or a name and perhaps more, is known."""
    if facts.get("caption"):
        return facts["caption"]
    name = facts["name"]
    if facts.get("general") and rng.random() < 0.5:
        name = facts["general"]
    kind = facts.get("domain") or _pick((*GENERIC, "photo"), rng)
    view = f", {facts['view']}" if facts.get("view") and rng.random() < 0.7 else ""
    if rng.random() < 0.4:
        return name + view
    return f"{with_article(kind)} of {with_article(name)}{view}"
