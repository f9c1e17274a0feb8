"""Prompts of zero-shot classification: CLIP's own, the paper's, or the user's.

CLIP's are those of `data/prompts.md` in its repository (openai/CLIP): templates averaged per class,
and other wordings for EuroSAT's classes than their folder names.
"""

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from factory.common.errors import UserError
from factory.common.text import suggest
from factory.data.class_names import plain


@dataclass(frozen=True)
class Prompts:
    """Prompt templates and class wordings.

    Attributes:
        name: For the table's row.
        templates: Texts with `{class}`; their vectors are averaged.
        wordings: By class name in plain spelling; other classes use their names.
    """

    name: str
    templates: tuple[str, ...]
    wordings: Mapping[str, str] = field(default_factory=dict)

    def words(self, labels: Sequence[str]) -> list[str]:
        """Return the value of `{class}` for each class name."""
        return [self.wordings.get(plain(label), _spaced(label)) for label in labels]

    def unworded(self, labels: Sequence[str]) -> list[str]:
        """Return classes without a wording, if others have one."""
        return [label for label in labels if self.wordings and plain(label) not in self.wordings]


_QUALITIES = ("", "blurry ", "black and white ", "low contrast ", "high contrast ", "bad ", "good ")
_SIZES = ("small ", "big ")
_CIFAR = tuple(
    template
    for article in ("a", "the")
    for template in (
        *(f"a {quality}photo of {article} {{class}}." for quality in _QUALITIES),
        *(f"a photo of {article} {size}{{class}}." for size in _SIZES),
    )
)
_EUROSAT = tuple(
    f"a centered satellite photo of {article}{{class}}." for article in ("", "a ", "the ")
)
_EUROSAT_WORDS = {
    "annualcrop": "annual crop land",
    "forest": "forest",
    "herbaceousvegetation": "brushland or shrubland",
    "highway": "highway or road",
    "industrial": "industrial buildings or commercial buildings",
    "pasture": "pasture land",
    "permanentcrop": "permanent crop land",
    "residential": "residential buildings or homes or apartments",
    "river": "river",
    "sealake": "lake or sea",
}

PROMPTS: dict[str, Prompts] = {
    "clip-cifar": Prompts("clip-cifar", _CIFAR),
    "clip-eurosat": Prompts("clip-eurosat", _EUROSAT, _EUROSAT_WORDS),
    "clip-single": Prompts("clip-single", ("a photo of a {class}.",)),
    "paper": Prompts("paper", ("an image of a {class}",)),
}


def find_prompts(text: str) -> Prompts:
    """Return prompts by name, or from a template.

    Args:
        text: A key of `PROMPTS`, or a text with `{class}` in it.

    Raises:
        UserError: It is neither.
    """
    if text in PROMPTS:
        return PROMPTS[text]
    if "{" not in text:
        hint = suggest(text, PROMPTS, otherwise="known")
        raise UserError(
            f"--prompts {text}: unknown prompts; {hint}, or use a template with {{class}}"
        )
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise UserError(f"--prompts {text}: {error}; write {{class}} for the class") from None
    if set(fields) != {"class"}:
        raise UserError(f"--prompts {text}: only {{class}} is allowed in a template")
    return Prompts(f'"{text}"', (text,))


def fill(template: str, words: str) -> str:
    """Return a template's text for a class."""
    return template.replace("{class}", words)


def _spaced(label: str) -> str:
    """Return a class name as words: `AnnualCrop` and `annual_crop` are `annual crop`."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label.replace("_", " "))
    return parted.lower() if parted != label.replace("_", " ") else parted
