"""Check prompts: used names exist, and lengths are within limits."""

from collections.abc import Iterator

from factory.common.text import some
from factory.common.yaml_nodes import Key
from factory.distributions.template import Template, examine_template
from factory.distributions.variables import PerClass
from factory.recipe.checks import Checked
from factory.recipe.faults import MOST_FAULTS, nearest
from factory.recipe.resolved import ResolvedRecipe

_IN_PROMPTS = ("class", "label")
_LONGEST_PROMPT = 50_000
_LONGEST_NUMBER = 24


def check_templates(checked: Checked, recipe: ResolvedRecipe, *, names_known: bool = True) -> None:
    """Check that prompts are valid templates and use existing names."""
    written = checked.node.find(("prompt",))
    listed = isinstance(written.value, list)
    for place, one in enumerate(recipe.prompt):
        path: tuple[Key, ...] = ("prompt", place) if listed else ("prompt",)
        if listed and isinstance(written.value[place].value, dict):
            path = (*path, "text")
        _check_template(checked, recipe, one.text, path, names_known=names_known)
        if checked.full:
            return
    path = ("negative_prompt",)
    _check_template(checked, recipe, recipe.negative_prompt, path, names_known=names_known)


def _check_template(
    checked: Checked,
    recipe: ResolvedRecipe,
    text: str,
    path: tuple[Key, ...],
    *,
    names_known: bool,
) -> None:
    template, faults = examine_template(text)
    for fault in faults[:MOST_FAULTS]:
        checked.add(fault, *path)
    if not names_known:
        return
    _check_length(checked, recipe, template, path)
    columns = {column.name: column for column in recipe.columns}
    for name in template.names[:MOST_FAULTS]:
        if name in _IN_PROMPTS or f"variables.{name}" in checked.refused:
            continue
        if name not in columns:
            known = [*_IN_PROMPTS, *columns]
            checked.add(f"there is no variable '{name}'{nearest(name, known)}", *path)
            continue
        quantity = columns[name].quantity
        if not isinstance(quantity, PerClass) or isinstance(recipe.variables.get(name), PerClass):
            continue
        without = [label for label in recipe.labels if quantity.of(label) is None]
        if without:
            checked.add(
                f"uses '{name}', a field that {some(without)} does not have; add it there, or a "
                f"variable '{name}' for the rest",
                *path,
            )


def _check_length(
    checked: Checked, recipe: ResolvedRecipe, template: Template, path: tuple[Key, ...]
) -> None:
    """Reject a short text that becomes very long when its names are filled in."""
    texts = {name: values for name, values in _longest_values(recipe)}
    longest = sum(len(part) for part in template.parts[::2])
    longest += sum(texts.get(name, 0) for name in template.parts[1::2])
    if longest > _LONGEST_PROMPT:
        checked.add(
            f"can be {longest:,} characters long; the limit is {_LONGEST_PROMPT:,}: shorten it or "
            "its values",
            *path,
        )


def _longest_values(recipe: ResolvedRecipe) -> Iterator[tuple[str, int]]:
    """Yield the names that a prompt may use, with the length of their longest value."""
    for column in recipe.columns:
        values = column.quantity.values() or ()
        yield column.name, max((len(str(value)) for value in values), default=_LONGEST_NUMBER)
    wordings = (str(value) for one in recipe.classes for value in one.prompt.values() or ())
    yield "class", max(map(len, wordings), default=0)
    yield "label", max(map(len, recipe.labels), default=0)
