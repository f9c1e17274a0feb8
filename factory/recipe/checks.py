"""Check recipe keys against each other: names, labels, templates, ranges."""

import math
import re
import unicodedata
from dataclasses import dataclass, field

from factory.common.errors import Fault
from factory.common.text import some
from factory.common.yaml_nodes import Key, Node
from factory.data.columns import fixed_columns
from factory.distributions.base import Distribution
from factory.distributions.template import NAME
from factory.distributions.variables import Linked, PerClass, joint_type
from factory.recipe.faults import MOST_FAULTS, nearest, number_message
from factory.recipe.resolved import ResolvedRecipe
from factory.recipe.schema import Output
from factory.recipe.variable_columns import fields_of

MOST_STEPS = 10_000
_MOST_COLUMNS = 500
_LONGEST_LABEL = 200
_MOST_GUIDANCE = 1e6
_UNFIT_FOR_WINDOWS = re.compile(r"(con|nul|aux|prn|com\d|lpt\d)(\..*)?|.*\.", re.IGNORECASE)
# Soft hyphens, zero-width spaces and byte order marks, often copied from web pages and tables.
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")


@dataclass
class Checked:
    """A recipe's node and its faults.

    Attributes:
        node: The merged recipe.
        faults: Faults found so far.
        refused: Keys, e.g. `model` or `variables.NAME`, whose values are already rejected; faults
            that follow from them are not reported.
    """

    node: Node
    faults: list[Fault]
    refused: set[str] = field(default_factory=set)

    @property
    def full(self) -> bool:
        """Return whether so many faults were found that checking can stop."""
        return len(self.faults) >= MOST_FAULTS

    def add(self, message: str, *path: Key) -> None:
        """Add a fault at the location of `path`."""
        node = self.node.find(path)
        dotted = ".".join(map(str, path)) or None
        self.faults.append(node.place.fault(message, key=dotted))


def check_classes(checked: Checked, recipe: ResolvedRecipe) -> None:
    """Check labels, prompt texts and fields of the classes."""
    seen: set[str] = set()
    for place, entry in enumerate(recipe.classes):
        if checked.full:
            return
        # Accented letters have two Unicode forms that look the same.
        label = unicodedata.normalize("NFC", entry.label)
        if label in seen:
            checked.add(f"label '{entry.label}' occurs twice; remove one", "classes", place)
        seen.add(label)
        problem = _label_problem(entry.label)
        if problem:
            checked.add(f"{entry.label!r} {problem}", "classes", place)
        if entry.prompt.type() != "string":
            checked.add("must be text; quote it", "classes", place, "prompt")
        elif any(not str(value).strip() for value in entry.prompt.values() or ()):
            checked.add("is empty; write a text", "classes", place, "prompt")
        for name in entry.fields:
            _check_name(checked, name, ("classes", place, name))


def check_name(checked: Checked, recipe: ResolvedRecipe) -> None:
    """Check that the config's folder can be downloaded on every system."""
    if _UNFIT_FOR_WINDOWS.fullmatch(recipe.name):
        checked.add(
            f"'{recipe.name}' is not a valid folder name on Windows, where the dataset may be "
            "downloaded; choose another name",
            "name",
        )


def _label_problem(label: str) -> str | None:
    """Return the reason why a label is not one line of visible text, or None."""
    if label != label.strip() or "\n" in label or "\r" in label or "\t" in label:
        return "has leading or trailing space or a line break; write one line"
    invisible = _INVISIBLE.search(label)
    if invisible:
        return f"contains the invisible character U+{ord(invisible[0]):04X}; remove it"
    if len(label) > _LONGEST_LABEL:
        return f"is {len(label):,} characters long; the limit is {_LONGEST_LABEL}"
    return None


def _check_name(checked: Checked, name: str, path: tuple[Key, ...]) -> None:
    node = checked.node.find(path)
    place = node.key_place or node.place
    if not NAME.fullmatch(name):
        message = f"'{name}' is not a valid variable name; use letters, digits and _"
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
                    checked.add(f"'{one}' is also defined by '{owners[one]}'; rename one", *path)
                owners[one] = name
        else:
            _check_name(checked, name, path)
        if isinstance(variable, PerClass):
            _check_per_class(checked, variable, recipe.labels, path)
    for name, holders in fields_of(recipe.classes).items():
        types = [one.type() for one in holders.values()]
        shared = recipe.variables.get(name)
        if shared is not None and not isinstance(shared, Linked):
            types.append(shared.type())
        try:
            joint_type(types)
        except ValueError as error:
            first = recipe.labels.index(next(iter(holders)))
            checked.add(str(error), "classes", first, name)


def _check_per_class(
    checked: Checked, quantity: PerClass, labels: tuple[str, ...], path: tuple[Key, ...]
) -> None:
    if "classes" in checked.refused or not labels:
        return
    known = set(labels)
    for label in quantity.per_class:
        if label not in known and not checked.full:
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
        checked.add(f"has no values for {some(left)}; add `default`", *path)


def check_columns(checked: Checked, recipe: ResolvedRecipe) -> bool:
    """Check the number of variables and fields; False if there are too many to continue."""
    names = {name for entry in recipe.classes for name in entry.fields}
    for name, one in recipe.variables.items():
        names |= set(one.linked) if isinstance(one, Linked) else {name}
    if len(names) > _MOST_COLUMNS:
        checked.add(f"{len(names):,} variables and class fields; the limit is {_MOST_COLUMNS}")
        return False
    return True


def check_sampling(checked: Checked, recipe: ResolvedRecipe) -> None:
    """Check types and ranges of the sampling parameters."""
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
    """Return the fault of a quantity's type or range, or None."""
    whole = key == "num_inference_steps"
    kind = "integers" if whole else "numbers"
    if quantity.type() not in (("int64",) if whole else ("int64", "float64")):
        return number_message(node, kind)
    low, high = quantity.bounds()
    if whole and low < 1:
        return f"can be {low:g}; the minimum is 1"
    most = MOST_STEPS if whole else _MOST_GUIDANCE
    if high > most and math.isfinite(high):
        return f"can be {high:g}; the maximum is {most:g}"
    return None


def check_output(checked: Checked, output: Output) -> None:
    """Check that the output settings fit the interpolation."""
    if {"output.resample", "output.antialias"} & checked.refused:
        return
    if "antialias" in output.model_fields_set and output.antialias != output.filters:
        always = "always filters" if output.filters else "never filters"
        value = str(output.filters).lower()
        checked.add(
            f"{output.resample} {always} before shrinking; set antialias to {value}, remove it, or "
            "set resample to bilinear or bicubic",
            *("output", "antialias"),
        )
    if output.lanczos_version is not None and output.resample != "lanczos":
        checked.add(
            f"applies to `resample: lanczos` only, but `resample` is {output.resample}; remove it",
            *("output", "lanczos_version"),
        )
    if output.compression is not None and output.format != "png":
        checked.add(
            f"applies to `format: png` only, but `format` is {output.format}; remove it",
            *("output", "compression"),
        )
