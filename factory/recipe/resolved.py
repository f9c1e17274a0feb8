"""The resolved recipe: all values filled in, all references resolved.

It is the input of plans, fingerprints and stored recipes. `factory.recipe.library` loads it from
files, whose format is in `factory.recipe.schema`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import Field, PrivateAttr

from factory.common.errors import Fault
from factory.common.yaml_nodes import Key, Node
from factory.distributions.base import Distribution, Frozen, ValueType
from factory.distributions.variables import Linked, PerClass, Variable, joint_type
from factory.recipe.resolved_yaml import recipe_to_yaml
from factory.recipe.schema import ClassEntry, Model, Output, Sampling, WeightedText

__all__ = ["PLAN_VERSION", "Column", "Model", "Output", "ResolvedRecipe", "Sampling"]

PLAN_VERSION = 1
"""Increment this version whenever the same recipe would produce a different plan."""


# Keys that enter a fingerprint only if used: section, key, value that means unused.
_LATER_KEYS: tuple[tuple[str, str, Any], ...] = (
    ("", "same_images_as", None),
    ("sampling", "images_per_noise", 1),
    ("model", "adapters", []),
    ("output", "lanczos_version", None),
)


@dataclass(frozen=True)
class Column:
    """A variable of the rows.

    Attributes:
        name: The column's name.
        stream: Its random stream; linked variables share one.
        quantity: Its distribution.
    """

    name: str
    stream: str
    quantity: Distribution | PerClass


class ResolvedRecipe(Frozen):
    """A config with its own images, or a combination of configs.

    Attributes:
        name: Name of the config.
        summary: One-line description.
        source: Origin of the recipe.
        classes: In label order, with their prompt texts.
        images_per_class: None for a combination of everything its members have.
        prompt: Templates with weights; empty for a combination.
        negative_prompt: Template.
        variables: Distributions by name.
        sampling: Guidance, steps, base seed, noise. Of a combination: its first member's, as are
            `model` and `output`.
        model: The text-to-image model.
        output: Size and format of stored images.
        same_images_as: Config with the same images, or None.
        combine: Names of the members, or None.
        members: The members of a combination.
        origins: Shared recipes that its file refers to, each with its commit.
    """

    name: str
    summary: str = ""
    source: str = ""
    classes: tuple[ClassEntry, ...]
    images_per_class: int | None
    prompt: tuple[WeightedText, ...] = ()
    negative_prompt: str = ""
    variables: dict[str, Variable] = Field(default={})
    sampling: Sampling
    model: Model
    output: Output
    same_images_as: str | None = None
    combine: tuple[str, ...] | None = None
    members: tuple[ResolvedRecipe, ...] = ()
    origins: tuple[str, ...] = ()

    _node: Node | None = PrivateAttr(default=None)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, by label."""
        return tuple(entry.label for entry in self.classes)

    @property
    def is_combination(self) -> bool:
        """Whether it is made of other configs."""
        return self.combine is not None

    @property
    def draws_name(self) -> str:
        """Name of the config in the address of every random number."""
        return self.same_images_as or self.name

    @property
    def num_images(self) -> int:
        """Total number of images."""
        if self.images_per_class is None:
            return sum(member.num_images for member in self.members)
        return self.images_per_class * len(self.classes)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the variables, by name; for a combination those of its members."""
        own = _own_columns(self)
        for member in self.members:
            own |= {column.name: column for column in member.columns if column.name not in own}
        return tuple(own[name] for name in sorted(own))

    @property
    def variable_types(self) -> dict[str, ValueType]:
        """Column types of the variables, in alphabetical order."""
        types = {column.name: column.quantity.type() for column in self.columns}
        for member in self.members:
            for name, kind in member.variable_types.items():
                types[name] = joint_type([types[name], kind])
        return types

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the content of the images, as 64 hexadecimal digits.

        `summary`, `source` and `images_per_class` are excluded: a grown config keeps its
        fingerprint.
        """
        return _sha256(_shown(self))

    @cached_property
    def images_fingerprint(self) -> str:
        """SHA-256 over the generated images, excluding `output` and the config's name.

        Two configs with the same `images_fingerprint` have the same images.
        """
        if self.is_combination:
            return self.fingerprint
        shown = _shown(self) | {"name": self.draws_name}
        kept = {key: one for key, one in shown.items() if key not in ("output", "same_images_as")}
        return _sha256(kept)

    def to_yaml(self) -> str:
        """Return the recipe as a file that loads with the same fingerprint.

        A combination refers to its members: their files must be in the same folder.
        """
        return recipe_to_yaml(self)

    def fault(self, message: str, *path: Key) -> Fault:
        """Return a fault at the location of a key in the recipe's file, as precisely as known."""
        dotted = ".".join(str(part) for part in path) or None
        if self._node is None:
            return Fault(message, file=self.name, key=dotted)
        return self._node.find(path).place.fault(message, key=dotted)


def _own_columns(recipe: ResolvedRecipe) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for name, variable in recipe.variables.items():
        stream = f"variables.{name}"
        if isinstance(variable, Linked):
            for one in variable.linked:
                columns[one] = Column(one, stream, variable.column(one))
        else:
            columns[name] = Column(name, stream, variable)
    for name, own in {} if recipe.is_combination else fields_of(recipe.classes).items():
        columns[name] = _with_fields(name, own, columns.get(name))
    return columns


def fields_of(classes: Sequence[ClassEntry]) -> dict[str, dict[str, Distribution]]:
    """Return the classes' own fields: by name, then by label."""
    found: dict[str, dict[str, Distribution]] = {}
    for entry in classes:
        for name, quantity in entry.fields.items():
            found.setdefault(name, {})[entry.label] = quantity
    return found


def _with_fields(name: str, own: dict[str, Distribution], variable: Column | None) -> Column:
    """Return a column in which the classes' own fields override the recipe's variable."""
    stream = variable.stream if variable else f"variables.{name}"
    quantity = variable.quantity if variable else None
    if isinstance(quantity, PerClass):
        own = {**quantity.per_class, **own}
        quantity = quantity.default
    # Not validated: a type conflict is reported elsewhere, with its location.
    return Column(name, stream, PerClass.model_construct(per_class=own, default=quantity))


def _sha256(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _shown(recipe: ResolvedRecipe) -> dict[str, Any]:
    """Return the values that determine the content of images."""
    if recipe.is_combination:
        return {
            "version": PLAN_VERSION,
            "name": recipe.name,
            "members": [member.fingerprint for member in recipe.members],
            "equal_share": recipe.images_per_class is not None,
        }
    hidden = {"summary", "source", "images_per_class", "combine", "members", "origins"}
    shown = {"version": PLAN_VERSION} | recipe.model_dump(mode="json", exclude=hidden)
    for variable in shown["variables"].values():
        captions = variable.get("captions") if isinstance(variable, dict) else None
        if captions and captions["sha256"]:
            # Hash captions by content, not by location.
            del captions["file"], captions["dataset"]
    # A key added in a later version must not change recipes that do not use it.
    for part, key, unset in _LATER_KEYS:
        holder = shown[part] if part else shown
        if holder[key] == unset:
            del holder[key]
    return shown
