"""Find prompts with a wrong English article, such as `a elephant`."""

import re
from collections.abc import Iterator

from factory.common.errors import Fault
from factory.common.text import some
from factory.distributions.template import parse_template
from factory.recipe.known_words import values_of
from factory.recipe.paths import packaged_dir
from factory.recipe.resolved import ResolvedRecipe

_BEFORE_NAME = re.compile(r"(?:^|\W)(an?) $", re.IGNORECASE)
_VOWEL = re.compile(r"[aeiou]|hour|honest|heir")
# They begin with a vowel that is spoken as a consonant: a unicorn, a European city, a one-way sign.
_CONSONANT = re.compile(r"eu|ewe|on(?:e|ce)\b|uni(?![nd])|us[aeu]|ut[ei]|uk|uri")


def article_of(text: str) -> str | None:
    """Return `a` or `an` as it belongs before a text; None if its spelling does not tell.

    Single letters, numbers and abbreviations are spoken in several ways.
    """
    word = re.split(r"[\W_]", text.strip(), maxsplit=1)[0]
    if len(word) < 2 or not word.isalpha() or word.isupper():
        return None
    lower = text.strip().lower()
    return "an" if _VOWEL.match(lower) and not _CONSONANT.match(lower) else "a"


def wrong_articles(recipe: ResolvedRecipe) -> Iterator[Fault]:
    """Yield one warning about the articles of a recipe's prompts.

    Recipes that state their source have its wording, and packaged ones that of the paper.
    """
    fault = recipe.fault("", "prompt")
    packaged = str(packaged_dir("recipes"))
    if recipe.source or str(fault.file or "").startswith(packaged):
        return
    found = list(dict.fromkeys(_found(recipe)))
    if found:
        article, _, word = found[0].partition(" ")
        other = "an" if article == "a" else "a"
        yield recipe.fault(
            f"wrong article: {some([repr(one) for one in found])}. Write {{article}} instead of it "
            f"and add `variables: {{article: {{per_class: {{{word}: {other}, ...}}, default: "
            f"{article}}}}}`, or write the article with each name",
            "prompt",
        )


def _found(recipe: ResolvedRecipe) -> Iterator[str]:
    for one in recipe.prompt:
        parts = parse_template(one.text).parts
        for text, name in zip(parts[::2], parts[1::2], strict=False):
            if match := _BEFORE_NAME.search(text):
                article = match[1].lower()
                for value in values_of(recipe, name):
                    if article_of(value) not in (None, article):
                        yield f"{article} {value}"
