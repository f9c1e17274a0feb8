"""Find captions that make poor labels: repeated ones, and ones of or about another class."""

import re
from collections.abc import Iterator, Sequence

from factory.common.errors import Fault, UserError
from factory.common.text import cut, plural
from factory.distributions.caption_texts import CaptionTexts, captions_of
from factory.distributions.captions import Captions
from factory.distributions.template import parse_template
from factory.recipe.resolved import ResolvedRecipe

_MOST_CAPTIONS = 100_000
_MOST_NAMED = 3


def caption_warnings(recipe: ResolvedRecipe) -> Iterator[Fault]:
    """Yield warnings about a recipe's captions, with shares.

    Captions of a Hub dataset are not downloaded for this.
    """
    for name, variable in recipe.variables.items():
        if isinstance(variable, Captions) and variable.captions.sha256 is not None:
            source = variable.captions
            try:
                texts = captions_of(source.place, sha256=source.sha256)
            except UserError:
                # Changed or missing since the recipe was loaded; the next reader reports it.
                continue
            for message in (
                *_repeats(texts),
                *_several_classes(recipe, texts, name),
                *_other_classes(recipe, texts),
            ):
                yield recipe.fault(message, *("variables", name, "captions"))


def _repeats(texts: CaptionTexts) -> Iterator[str]:
    groups = texts.by_label or {"": list(texts.all)}
    repeats = {label: len(own) - len(set(own)) for label, own in groups.items()}
    total, found = len(texts.all), sum(repeats.values())
    if not found:
        return
    classes = [label for label, count in repeats.items() if count and label]
    most = sorted(classes, key=lambda label: -repeats[label] / len(groups[label]))[:_MOST_NAMED]
    shares = ", ".join(f"{label} {repeats[label]:,} of {len(groups[label]):,}" for label in most)
    yield (
        f"{found:,} of {total:,} captions ({_percent(found, total)}) repeat an earlier one"
        f"{f' of their class (most: {shares})' if shares else ''}: their images will look alike; "
        "remove the repeats"
    )


def _several_classes(recipe: ResolvedRecipe, texts: CaptionTexts, variable: str) -> Iterator[str]:
    """Yield a warning about captions of several classes in prompts that do not name the class."""
    prompts = [set(parse_template(one.text).names) for one in recipe.prompt]
    if not any(variable in own and not own & {"class", "label"} for own in prompts):
        return
    owners: dict[str, str] = {}
    pairs = [(text, label) for label in recipe.labels for text in dict.fromkeys(texts.of(label))]
    shared = [
        (text, owner, label)
        for text, label in pairs
        if (owner := owners.setdefault(text.casefold(), label)) != label
    ]
    if shared:
        text, owner, label = shared[0]
        yield (
            f"{plural(len(shared), 'caption')} of a class also of an earlier class, e.g. "
            f"'{cut(text, 60)}' of '{owner}' and '{label}': their images will look alike; add "
            "{class} to the prompt, or remove them"
        )


def _other_classes(recipe: ResolvedRecipe, texts: CaptionTexts) -> Iterator[str]:
    """Yield warnings about captions that name another class than the image's."""
    pairs = [(text, label) for label, own in texts.by_label.items() for text in own]
    pairs = (pairs or [(text, "") for text in texts.all])[:_MOST_CAPTIONS]
    owners, pattern = class_names(recipe)
    labels = set(recipe.labels)
    wrong = []
    for text, label in pairs:
        named = {owners[found] for found in pattern.findall(text.casefold())}
        if (not label or label in labels) and named - {label}:
            wrong.append((text, label, sorted(named - {label})[0]))
    if not wrong:
        return
    text, label, other = wrong[0]
    share = f"{len(wrong):,} of {len(pairs):,} captions ({_percent(len(wrong), len(pairs))})"
    example = f"'{cut(text, 60)}' names '{other}'"
    if label:
        yield (
            f"{share} name another class than their label, e.g. {example} as a caption of "
            f"'{label}': the label may be wrong; move or remove them"
        )
    else:
        yield (
            f"{share} name a class, e.g. {example}, and are used for every class; set "
            "label_column, or remove them"
        )


def class_names(recipe: ResolvedRecipe) -> tuple[dict[str, str], re.Pattern[str]]:
    """Return labels by name, and a pattern of all names as whole words, plurals included."""
    owners: dict[str, str] = {}
    for entry in recipe.classes:
        for wording in (entry.label.replace("_", " "), *(entry.prompt.values() or ())):
            owners.setdefault(str(wording).casefold(), entry.label)
    # Longest first: 'tabby cat' must not match as 'cat'.
    names: Sequence[str] = sorted(owners, key=len, reverse=True)
    words = "|".join(map(re.escape, names))
    return owners, re.compile(rf"(?<!\w)({words})(?:e?s)?(?!\w)")


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.3g} %"
