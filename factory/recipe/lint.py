"""Warn about valid but suspicious recipes, each with a reason and a remedy."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import gcd
from pathlib import Path

from factory.common.errors import Fault
from factory.common.yaml_nodes import Key
from factory.data.columns import TEMPLATE
from factory.distributions.discrete import Cycle
from factory.distributions.template import parse_template
from factory.distributions.variables import Linked
from factory.models.embedded import EMBEDDED_ID
from factory.models.presets import find_preset
from factory.recipe.articles import wrong_articles
from factory.recipe.caption_checks import caption_warnings
from factory.recipe.faults import MOST_FAULTS
from factory.recipe.known_words import word_warnings
from factory.recipe.resolved import ResolvedRecipe
from factory.recipe.senses import readings

# Prompt weights and LoRAs in the syntax of other tools: `(cat:1.3)`, `<lora:name:0.8>`.
_FOREIGN_SYNTAX = re.compile(r"\([^()]+:\s*-?\d*\.?\d+\s*\)|<(?:lora|lyco|hypernet):[^<>]+>")


def lint(recipes: Sequence[ResolvedRecipe]) -> list[Fault]:
    """Return warnings about recipes, without repeats."""
    warnings: dict[Fault, None] = {}
    for recipe in recipes:
        checks = _COMBINATION_CHECKS if recipe.is_combination else _CHECKS
        for check in checks:
            warnings.update(dict.fromkeys(islice(check(recipe), MOST_FAULTS)))
    return list(warnings)


def _one_class(recipe: ResolvedRecipe) -> Iterator[Fault]:
    if len(recipe.classes) == 1:
        label = recipe.classes[0].label
        yield recipe.fault(f"one class, {label}; a classifier needs two or more", "classes")


def _same_wording(recipe: ResolvedRecipe) -> Iterator[Fault]:
    owners: dict[str, str] = {}
    fields = {name for entry in recipe.classes for name in entry.fields}
    telling = _names(recipe) & ({"label"} | fields)
    for place, entry in enumerate(recipe.classes):
        for wording in entry.prompt.values() or ():
            owner = owners.setdefault(str(wording).casefold(), entry.label)
            if owner != entry.label and not telling:
                yield recipe.fault(
                    f"'{wording}' is also the prompt text of '{owner}': their images will look "
                    "alike; use different texts",
                    *("classes", place),
                )


def _two_senses(recipe: ResolvedRecipe) -> Iterator[Fault]:
    for place, entry in enumerate(recipe.classes):
        for wording in entry.prompt.values() or ():
            senses = readings(str(wording))
            if senses and not (_names(recipe) & set(entry.fields)):
                lines = " or ".join(
                    f"{{label: {entry.label}, prompt: {prompt}}} ({sense})"
                    for sense, prompt in senses.items()
                )
                which = (
                    "has several meanings; write one of them"
                    if len(senses) > 1
                    else ("is ambiguous; write")
                )
                yield recipe.fault(
                    f"'{wording}' {which} in `classes`: {lines}",
                    *("classes", place),
                )


def _classless_prompt(recipe: ResolvedRecipe) -> Iterator[Fault]:
    per_class = {column.name for column in recipe.columns if column.quantity.by_class}
    for one in recipe.prompt:
        names = set(parse_template(one.text).names)
        if not names & ({"class", "label"} | per_class):
            yield recipe.fault(
                "a prompt without {class} is the same for every class: images will not match "
                "their labels",
                "prompt",
            )


def _foreign_syntax(recipe: ResolvedRecipe) -> Iterator[Fault]:
    texts: dict[tuple[Key, ...], list[str]] = {
        ("prompt",): [one.text for one in recipe.prompt],
        ("negative_prompt",): [recipe.negative_prompt],
    }
    for place, entry in enumerate(recipe.classes):
        texts[("classes", place)] = [str(wording) for wording in entry.prompt.values() or ()]
    for path, own in texts.items():
        found = next(filter(None, map(_FOREIGN_SYNTAX.search, own)), None)
        if found:
            remedy = "name it in model.adapters" if found[0].startswith("<") else "remove it"
            yield recipe.fault(
                f"'{found[0]}' is syntax of other tools and is read as plain text here; {remedy}",
                *path,
            )


def _unused_variables(recipe: ResolvedRecipe) -> Iterator[Fault]:
    names = _names(recipe)
    for name, variable in recipe.variables.items():
        own = set(variable.linked) if isinstance(variable, Linked) else {name}
        if not own & names:
            yield recipe.fault(
                f"no prompt uses {{{name}}}: it becomes a column but has no effect on images",
                *("variables", name),
            )


def _hidden_template(recipe: ResolvedRecipe) -> Iterator[Fault]:
    if len(recipe.prompt) > 1 and TEMPLATE in recipe.variable_types:
        yield recipe.fault(
            f"a variable named {TEMPLATE} replaces the reserved column with each row's prompt "
            "template; choose another name",
            *("variables", TEMPLATE),
        )


def _unpinned_model(recipe: ResolvedRecipe) -> Iterator[Fault]:
    model = recipe.model
    if model.id != EMBEDDED_ID and model.revision is None and not Path(model.id).is_absolute():
        yield recipe.fault(
            f"{model.id} is not pinned and may change; add `revision` (a commit)",
            *("model", "id"),
        )
    for place, adapter in enumerate(model.adapters):
        if adapter.revision is None:
            yield recipe.fault(
                f"{adapter.id} is not pinned and may change; add `revision`",
                *("model", "adapters", place, "id"),
            )


def _unknown_twin(recipe: ResolvedRecipe) -> Iterator[Fault]:
    name = recipe.same_images_as
    fault = recipe.fault(
        f"no recipe '{name}' in this folder; no other config will share these images",
        "same_images_as",
    )
    if name and fault.line and not (Path(fault.file or "").parent / f"{name}.yaml").is_file():
        yield fault


def _low_guidance(recipe: ResolvedRecipe) -> Iterator[Fault]:
    low, high = recipe.sampling.guidance_scale.bounds()
    preset = find_preset(recipe.model.id)
    if low <= 0 and (preset is None or (preset.guided and preset.negative_prompt)):
        reach = "is" if low == high else "reaches down to"
        yield recipe.fault(
            f"{reach} {low:g}; 0 is no guidance, as 1 is",
            *("sampling", "guidance_scale"),
        )


def _whole_interval(recipe: ResolvedRecipe) -> Iterator[Fault]:
    interval = recipe.sampling.guidance_interval
    steps = int(recipe.sampling.num_inference_steps.bounds()[1])
    if interval is not None and interval.steps(steps) == range(steps):
        yield recipe.fault(
            f"{interval.numbers} guides all of {steps} steps, as without it; remove it, or raise "
            "its start",
            *("sampling", "guidance_interval"),
        )


def _uneven_cycles(recipe: ResolvedRecipe) -> Iterator[Fault]:
    cycles = {name: v for name, v in recipe.variables.items() if isinstance(v, Cycle)}
    names = list(cycles)
    for place, name in enumerate(names):
        length = len(cycles[name].cycle)
        if recipe.images_per_class is not None and recipe.images_per_class % length:
            yield recipe.fault(
                f"{recipe.images_per_class} images per class are not divisible by {length} values; "
                "make images_per_class a multiple",
                *("variables", name),
            )
        for other in names[:place]:
            if gcd(length, len(cycles[other].cycle)) > 1:
                yield recipe.fault(
                    f"some pairs of values with '{other}' never occur, because the lengths of the "
                    "two cycles have a common divisor; make one of them a list",
                    *("variables", name),
                )


def _uneven_shares(recipe: ResolvedRecipe) -> Iterator[Fault]:
    count, members = recipe.images_per_class, len(recipe.members)
    if count is not None and not recipe.rows and count % members:
        yield recipe.fault(
            f"{count} images per class are not divisible by {members} members: the first members "
            f"contribute one more; use a multiple of {members}",
            "images_per_class",
        )


def _uneven_classes(recipe: ResolvedRecipe) -> Iterator[Fault]:
    counts = recipe.class_counts
    if min(counts) < max(counts):
        least, most = (recipe.labels[counts.index(one)] for one in (min(counts), max(counts)))
        yield recipe.fault(
            f"lists {min(counts):,} images of class '{least}' and {max(counts):,} of '{most}' "
            f"(index % {len(counts)} is the class); unless quotas of `grow` are meant, list the "
            "same number of each class",
            "rows",
        )


def _mixed_sizes(recipe: ResolvedRecipe) -> Iterator[Fault]:
    shapes = {member.output.size for member in recipe.members}
    if len(shapes) > 1:
        yield recipe.fault(
            "its members' images differ in size; set the same output.size for all", "combine"
        )


def _names(recipe: ResolvedRecipe) -> set[str]:
    texts: Iterable[str] = [*(one.text for one in recipe.prompt), recipe.negative_prompt]
    return {name for text in texts for name in parse_template(text).names}


_CHECKS = (
    _one_class,
    _same_wording,
    _two_senses,
    _classless_prompt,
    _foreign_syntax,
    _unused_variables,
    _hidden_template,
    _unpinned_model,
    _unknown_twin,
    _low_guidance,
    _whole_interval,
    _uneven_cycles,
    caption_warnings,
    wrong_articles,
    word_warnings,
)
_COMBINATION_CHECKS = (_uneven_shares, _uneven_classes, _mixed_sizes)
