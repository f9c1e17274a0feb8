"""Find prompts that exceed a model's token limit; truncated words have no effect.

If a class name or a variable's value is truncated, images get labels and values that they do not
show; that is an error. If only other words are truncated, it is a warning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from factory.common import console
from factory.common.errors import Fault, UserError
from factory.distributions.captions import Captions
from factory.distributions.template import Value, shown, template_of
from factory.planner.possible_prompts import possible_prompts
from factory.recipe.resolved import ResolvedRecipe
from factory.recipe.text_encoders import TextEncoder, encoders_at_hand

if TYPE_CHECKING:
    from factory.planner.plan import ImageSpec

_BLOCK = 5_000
_CHECKED_IMAGES = 20_000
_BUILT_IMAGES = 1_000_000


@dataclass
class CutPrompts:
    """Truncation of a config's prompts.

    Attributes:
        images: Images checked.
        cut: Images whose prompt or negative prompt is truncated by some encoder.
        lost: By variable name or `class`: images whose value no encoder reads in full.
        longest: By encoder: tokens of the longest text, if it exceeds the limit.
    """

    images: int = 0
    cut: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    longest: dict[str, int] = field(default_factory=dict)


def cut_prompts(
    recipe: ResolvedRecipe, encoders: Sequence[TextEncoder], *, most: int | None = None
) -> CutPrompts:
    """Count truncated prompts of a plan.

    Args:
        recipe: Recipe of a config with its own prompts.
        encoders: The text encoders of its model.
        most: Number of images to check, spread over the plan; default: all.
    """
    found, known = CutPrompts(), dict[tuple[str, str], frozenset[str] | None]()
    for spec in _specs(recipe, most) if encoders else ():
        found.images += 1
        texts = [(spec.template or recipe.prompt[0].text, spec.prompt)]
        texts += [(recipe.negative_prompt, spec.negative_prompt)]
        lost: set[str] = set()
        is_cut = False
        for key in texts:
            if key not in known:
                known[key] = _lost(*key, _values(recipe, spec), encoders, found.longest)
            is_cut |= known[key] is not None
            lost |= known[key] or frozenset()
        found.cut += is_cut
        found.lost.update(lost)
    return found


def check_prompts(recipes: Iterable[ResolvedRecipe]) -> tuple[list[Fault], list[Fault]]:
    """Check prompts with the tokenizers that are on this machine.

    Args:
        recipes: For combinations, the prompts of their members are checked.

    Returns:
        Errors and warnings, as `cut_faults`.
    """
    errors: list[Fault] = []
    warnings: list[Fault] = []
    leaves = {leaf.fingerprint: leaf for recipe in recipes for leaf in _leaves(recipe)}
    for recipe in leaves.values():
        if _is_readable(recipe):
            found = cut_faults(recipe, encoders_at_hand(recipe.model), most=_CHECKED_IMAGES)
            errors += found[0]
            warnings += found[1]
    return errors, warnings


def require_whole_prompts(
    recipe: ResolvedRecipe, encoders: Sequence[TextEncoder], *, allowed: bool
) -> None:
    """Log which prompts are truncated, before any image is generated.

    Raises:
        UserError: A class name or a value is truncated.
    """
    errors, warnings = cut_faults(recipe, encoders, most=_BUILT_IMAGES)
    if errors and not allowed:
        raise UserError(errors)
    for warning in (*errors, *warnings):
        console.log(f"warning: {warning}")


def cut_faults(
    recipe: ResolvedRecipe, encoders: Sequence[TextEncoder], *, most: int | None = None
) -> tuple[list[Fault], list[Fault]]:
    """Return errors and warnings about the length of a config's prompts; see `cut_prompts`."""
    if not _may_be_cut(recipe, encoders):
        return [], []
    found = cut_prompts(recipe, encoders, most=most)
    if not found.cut:
        return [], []
    limits = {one.name: one.limit for one in encoders}
    read = ", ".join(
        f"{name} reads {limits[name]} of up to {tokens} tokens"
        for name, tokens in found.longest.items()
    )
    whole = [name for name in limits if name not in found.longest]
    read += f" ({', '.join(whole)} reads all of them)" if whole else ""
    if not found.lost:
        message = (
            f"{found.cut:,} of {found.images:,} prompts exceed the token limit of "
            f"{recipe.model.id}: {read}; the last words have no effect, so shorten the prompts"
        )
        return [], [recipe.fault(message, "prompt")]
    names = ", ".join(
        f"{{{name}}} in {count:,} of {found.images:,} images"
        for name, count in found.lost.most_common()
    )
    message = (
        f"{recipe.model.id} truncates {names}: {read}; shorten the prompt or put the names "
        "first, or accept images that do not show them with --allow-cut-prompts"
    )
    return [recipe.fault(message, "prompt")], []


def _may_be_cut(recipe: ResolvedRecipe, encoders: Sequence[TextEncoder]) -> bool:
    """Return whether a prompt may exceed a limit, without planning any image."""
    if not encoders:
        return False
    texts = possible_prompts(recipe)
    return texts is None or any(one.count(text) > one.limit for text in texts for one in encoders)


def _lost(
    template: str,
    text: str,
    values: Mapping[str, Value | None],
    encoders: Sequence[TextEncoder],
    longest: dict[str, int],
) -> frozenset[str] | None:
    """Return the names whose values no encoder reads in full; None if nothing is truncated."""
    over = []
    for one in encoders:
        tokens = one.count(text)
        if tokens > one.limit:
            over.append(one)
            longest[one.name] = max(tokens, longest.get(one.name, 0))
    if not over:
        return None
    if len(over) < len(encoders):
        return frozenset()
    ends = _ends(template, values)
    read = {name for one in over for name, end in ends if one.count(text[:end]) <= one.limit}
    return frozenset(name for name, _ in ends) - read


def _ends(template: str, values: Mapping[str, Value | None]) -> list[tuple[str, int]]:
    """Return the character position at which each name's value ends in a filled template."""
    ends, end = [], 0
    for place, part in enumerate(template_of(template).parts):
        end += len(shown(values[part])) if place % 2 else len(part)
        if place % 2:
            ends.append((part, end))
    return ends


def _values(recipe: ResolvedRecipe, spec: ImageSpec) -> dict[str, Value | None]:
    label = recipe.labels[spec.label]
    return {"class": spec.class_name, "label": label, **spec.variables}


def _specs(recipe: ResolvedRecipe, most: int | None) -> Iterator[ImageSpec]:
    """Yield a plan's rows, or `most` of them in blocks spread over it, block by block."""
    # It imports numpy, and most checks do not come here.
    from factory.planner.plan import plan

    planned = plan(recipe)
    total = len(planned)
    wanted = min(total, most or total)
    blocks = max(1, -(-wanted // _BLOCK))
    for number in range(blocks):
        size = wanted * (number + 1) // blocks - wanted * number // blocks
        start = total * number // blocks
        yield from planned.rows(start, min(start + size, total))


def _leaves(recipe: ResolvedRecipe) -> Iterator[ResolvedRecipe]:
    if not recipe.is_combination:
        yield recipe
    for member in recipe.members:
        yield from _leaves(member)


def _is_readable(recipe: ResolvedRecipe) -> bool:
    """Return whether all captions are on this machine; the build downloads those on the Hub."""
    sources = [one.captions for one in recipe.variables.values() if isinstance(one, Captions)]
    return all(source.sha256 is not None for source in sources)
