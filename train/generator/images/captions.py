"""Captions: words for the facts of an image, with random variation.

A caption is sampled each time an image is used. Captions of digits follow the wordings that prompts
use: bare ("handwritten seven"), generic ("an image of a seven"), or with a domain ("a chalk drawing
of a handwritten seven").
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from train.generator.config import SourceConfig
from train.generator.images.domains import DOMAINS
from train.generator.images.filters import FILTERS

Facts = dict[str, str]

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
GENERIC = ("image", "image", "image", "picture")
PHOTO = ("image", "image", "photo", "photo", "picture")
SATELLITE = ("satellite photo", "satellite photo", "satellite image")
AERIAL = ("aerial photo",)
NO_SYNONYMS: Mapping[str, Sequence[str]] = {}


class Captioner(Protocol):
    """Samples a caption for the facts of an image."""

    def __call__(self, facts: Facts, rng: np.random.Generator) -> str:
        """Return a caption; empty captions are handled elsewhere."""
        ...


def with_article(words: str) -> str:
    """Put "a" or "an" before a noun phrase: an eight, an 8, a one, an image; plurals have none."""
    first, last = words.split()[0], words.split()[-1]
    if last.endswith("s") and not last.endswith(("ss", "us", "is")):
        return words
    an = first[0] in "aeiou8" and first not in ("one", "unit", "used")
    return f"{'an' if an else 'a'} {words}"


def make_captioner(sources: Sequence[SourceConfig]) -> Captioner:
    """Return the captioner for the images of several sources."""

    def caption(facts: Facts, rng: np.random.Generator) -> str:
        if "digit" in facts:
            return caption_digit(facts, rng)
        return caption_named(facts, rng, synonyms=sources[int(facts["source"])].synonyms)

    return caption


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


def caption_named(
    facts: Facts, rng: np.random.Generator, *, synonyms: Mapping[str, Sequence[str]] = NO_SYNONYMS
) -> str:
    """Caption an image with a known caption, or a known name and perhaps more.

    Four in ten captions of a photograph are the bare noun, so that class words are learned by
    themselves; captions of other domains nearly always name the domain.
    """
    if facts.get("caption"):
        return facts["caption"]
    noun = _noun(facts, rng)
    if noun in synonyms and rng.random() < 0.5:
        noun = _pick(synonyms[noun], rng)
    if facts.get("view") == "satellite":
        return _caption_from_above(facts, noun, rng)
    domain = facts.get("filter") or facts.get("domain") or "photo"
    if domain == "photo":
        if rng.random() < 0.4:
            return noun
        return f"{with_article(_pick(PHOTO, rng))} of {with_article(noun)}"
    word = _domain_word(domain, rng)
    if rng.random() < 0.1:
        return f"{noun}, {word}"
    return f"{with_article(word)} of {with_article(noun)}"


def _noun(facts: Facts, rng: np.random.Generator) -> str:
    """Name the content: its class word, its finer name, or a more general word."""
    chance = rng.random()
    if "focus" in facts and chance < 0.65:
        return facts["focus"]
    general = [word for word in facts.get("general", "").split("|") if word]
    if general and chance > 0.88:
        return _pick(general, rng)
    if general and "focus" not in facts and chance > 0.6:
        return general[0]
    return facts["name"]


def _caption_from_above(facts: Facts, noun: str, rng: np.random.Generator) -> str:
    filtered = facts.get("filter")
    if filtered and filtered != "satellite":
        word = _domain_word(filtered, rng)
        chance = rng.random()
        if chance < 0.6:
            kind = _pick(SATELLITE, rng)
            return f"{with_article(kind)} of {with_article(noun)} in the style of a {word}"
        if chance < 0.8:
            return f"{with_article(word)} of {with_article(noun)} seen from above"
        return f"{with_article(word)} of {with_article(noun)}"
    kinds = SATELLITE if filtered else (*SATELLITE, *AERIAL)
    chance = rng.random()
    if chance < 0.15:
        return f"{noun} from above"
    if chance < 0.25:
        return f"{with_article(noun)} seen from above"
    if chance < 0.35:
        return f"{with_article(_pick(GENERIC, rng))} of {with_article(noun)}"
    tail = " in the style of a realistic photo" if chance > 0.95 else ""
    return f"{with_article(_pick(kinds, rng))} of {with_article(noun)}{tail}"


def _domain_word(domain: str, rng: np.random.Generator) -> str:
    return _pick(FILTERS[domain].words, rng) if domain in FILTERS else domain
