"""What no single key of a recipe can know: names that must agree, labels, templates, ranges."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from factory.distribution import Distribution
from factory.errors import Fault
from factory.model_presets import find_preset
from factory.quantities import Linked, PerClass, joint_type
from factory.recipe import ResolvedRecipe
from factory.recipe_faults import nearest, number_message
from factory.schema import fixed_columns
from factory.template import NAME, parse_template
from factory.yaml_nodes import Key, Node

_IN_PROMPTS = ("class", "label")
_MOST_STEPS = 10_000
_MOST_GUIDANCE = 1e6


@dataclass
class Checked:
    """A recipe's node under examination.

    Attributes:
        node: The merged recipe.
        faults: Where faults are added.
        refused: Keys, as `model` or `variables.NAME`, whose values were refused already: what
            depends on them is not complained about again.
    """

    node: Node
    faults: list[Fault]
    refused: set[str] = field(default_factory=set)

    def add(self, message: str, *path: Key) -> None:
        """Add a fault at the place of `path`."""
        node = self.node.find(path)
        dotted = ".".join(map(str, path)) or None
        self.faults.append(node.place.fault(message, key=dotted))


def check_classes(checked: Checked, recipe: ResolvedRecipe) -> None:
    """Check labels, wordings and fields of the classes."""
    seen: dict[str, int] = {}
    for place, entry in enumerate(recipe.classes):
        if entry.label in seen:
            checked.add(f"label '{entry.label}' stands here twice; remove one", "classes", place)
        seen[entry.label] = place
        if entry.prompt.type() != "string":
            checked.add("the wording must be text; quote it", "classes", place, "prompt")
        elif any(not str(value).strip() for value in entry.prompt.values() or ()):
            checked.add("the wording is empty; write words", "classes", place, "prompt")
        for name in entry.fields:
            _check_name(checked, name, ("classes", place, name))


def _check_name(checked: Checked, name: str, path: tuple[Key, ...]) -> None:
    node = checked.node.find(path)
    place = node.key_place or node.place
    if not NAME.fullmatch(name):
        message = f"'{name}' cannot name a variable; use letters, digits and _"
    elif name in fixed_columns():
        message = f"'{name}' is the name of another column; choose another name"
    else:
        return
    checked.faults.append(place.fault(message, key=".".join(map(str, path))))


def check_variables(checked: Checked, recipe: ResolvedRecipe) -> None:
    """Check the names and types of variables."""
    owners = {name: name for name, one in recipe.variables.items() if not isinstance(one, Linked)}
    for name, variable in recipe.variables.items():
        path = ("variables", name)
        if isinstance(variable, Linked):
            for place, one in enumerate(variable.linked):
                _check_name(checked, one, (*path, "linked", place))
                if one in owners:
                    checked.add(f"'{one}' is drawn by '{owners[one]}' too; rename one", *path)
                owners[one] = name
        else:
            _check_name(checked, name, path)
        if isinstance(variable, PerClass):
            _check_per_class(checked, variable, recipe.labels, path)
    for name in dict.fromkeys(name for entry in recipe.classes for name in entry.fields):
        holders = [entry for entry in recipe.classes if name in entry.fields]
        types = [entry.fields[name].type() for entry in holders]
        shared = recipe.variables.get(name)
        if shared is not None and not isinstance(shared, Linked):
            types.append(shared.type())
        try:
            joint_type(types)
        except ValueError as error:
            first = recipe.labels.index(holders[0].label)
            checked.add(str(error), "classes", first, name)


def _check_per_class(
    checked: Checked, quantity: PerClass, labels: tuple[str, ...], path: tuple[Key, ...]
) -> None:
    if "classes" in checked.refused or not labels:
        return
    for label in quantity.per_class:
        if label not in labels:
            inner = (*path, "per_class", label)
            node = checked.node.find(inner)
            checked.faults.append(
                (node.key_place or node.place).fault(
                    f"there is no class '{label}'{nearest(label, labels)}",
                    key=".".join(map(str, inner)),
                )
            )
    left = [label for label in labels if quantity.of(label) is None]
    if left:
        checked.add(f"says nothing for {_some(left)}; add `default`", *path)


def _some(names: Collection[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more


def check_templates(checked: Checked, recipe: ResolvedRecipe) -> None:
    """Check that prompts use names that exist."""
    written = checked.node.find(("prompt",))
    listed = isinstance(written.value, list)
    for place, one in enumerate(recipe.prompt):
        path: tuple[Key, ...] = ("prompt", place) if listed else ("prompt",)
        if listed and isinstance(written.value[place].value, dict):
            path = (*path, "text")
        _check_template(checked, recipe, one.text, path)
    _check_template(checked, recipe, recipe.negative_prompt, ("negative_prompt",))


def _check_template(
    checked: Checked, recipe: ResolvedRecipe, text: str, path: tuple[Key, ...]
) -> None:
    try:
        names = parse_template(text).names
    except ValueError as error:
        checked.add(str(error), *path)
        return
    columns = {column.name: column for column in recipe.columns}
    for name in names:
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
                f"uses '{name}', a field that {_some(without)} does not have; add it there, or a "
                f"variable '{name}' for the rest",
                *path,
            )


def check_sampling(checked: Checked, recipe: ResolvedRecipe) -> None:
    """Check types and ranges of what steers the drawing."""
    sampling = recipe.sampling
    for key, quantity in (
        ("guidance_scale", sampling.guidance_scale),
        ("num_inference_steps", sampling.num_inference_steps),
    ):
        if isinstance(quantity, PerClass):
            _check_per_class(checked, quantity, recipe.labels, ("sampling", key))
        message = _sampling_fault(checked.node.find(("sampling", key)), key, quantity)
        if message:
            checked.add(message, "sampling", key)


def _sampling_fault(node: Node, key: str, quantity: Distribution | PerClass) -> str | None:
    """Return what is wrong with a quantity's type or range, or None."""
    whole = key == "num_inference_steps"
    kind = "whole numbers" if whole else "numbers"
    if quantity.type() not in (("int64",) if whole else ("int64", "float64")):
        return number_message(node, kind)
    low, high = quantity.bounds()
    if whole and low < 1:
        return f"goes down to {low:g}; 1 is the least"
    most = _MOST_STEPS if whole else _MOST_GUIDANCE
    if high > most and math.isfinite(high):
        return f"goes up to {high:g}; {most:g} is the most"
    return None


def check_model(checked: Checked, recipe: ResolvedRecipe) -> None:
    """Check what a known model cannot do; of others the pipeline is asked when it is loaded."""
    preset = find_preset(recipe.model.id)
    if preset is None:
        return
    if not preset.negative_prompt and recipe.negative_prompt:
        checked.add(f"{preset.id} draws without a negative prompt; remove it", "negative_prompt")
    if not preset.guided and recipe.sampling.guidance_scale.bounds()[1] > 1:
        checked.add(
            f"{preset.id} was distilled to draw without guidance; write 0, or choose a model that "
            "can be guided",
            *("sampling", "guidance_scale"),
        )
