"""The resolved recipe: everything filled in, nothing left to look up.

It is what is planned, fingerprinted and stored with a set. Files are read by
`factory.recipe.library`; what they may say is in `factory.recipe.schema`.
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
"""Raised when the same recipe would be planned differently: it is part of every fingerprint."""


# Keys that count in a fingerprint only where they are used: section, key, value that means unused.
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
        stream: Which random stream it reads; linked variables share one.
        quantity: What is drawn.
    """

    name: str
    stream: str
    quantity: Distribution | PerClass


class ResolvedRecipe(Frozen):
    """One set of images, or a combination of sets.

    Attributes:
        name: The set's name, the config of the dataset.
        summary: One line for people.
        source: Where the recipe comes from.
        classes: In label order; wordings are filled in.
        images_per_class: None for a combination of everything its members have.
        prompt: Templates with weights; empty for a combination.
        negative_prompt: Template.
        variables: What is drawn besides, by name.
        sampling: Guidance, steps, base seed, noise. Of a combination: its first member's, as are
            `model` and `output`.
        model: The text-to-image model.
        output: What is kept of a drawn image.
        same_images_as: The set whose draws it takes, or None: its own.
        combine: Names of the members, or None.
        members: The members of a combination.
        origins: Shared recipes that its file names, each pinned to a commit.
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
        """Whether it is made of other sets."""
        return self.combine is not None

    @property
    def draws_name(self) -> str:
        """The set's name in the address of every random draw."""
        return self.same_images_as or self.name

    @property
    def num_images(self) -> int:
        """Images in all."""
        if self.images_per_class is None:
            return sum(member.num_images for member in self.members)
        return self.images_per_class * len(self.classes)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """What is drawn for each variable's column, by name; of the members for a combination."""
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
        """SHA-256 over what an image shows, as 64 hexadecimal digits.

        `summary`, `source` and `images_per_class` do not count: a grown set is the same set.
        """
        return _sha256(_shown(self))

    @cached_property
    def images_fingerprint(self) -> str:
        """SHA-256 over what is drawn, whatever is kept of it and under whichever name.

        Two sets of one `images_fingerprint` show the same images.
        """
        if self.is_combination:
            return self.fingerprint
        shown = _shown(self) | {"name": self.draws_name}
        kept = {key: one for key, one in shown.items() if key not in ("output", "same_images_as")}
        return _sha256(kept)

    def to_yaml(self) -> str:
        """Return the recipe as a file that loads with the same fingerprint.

        A combination names its members: their files must lie beside its own.
        """
        return recipe_to_yaml(self)

    def fault(self, message: str, *path: Key) -> Fault:
        """Return a fault at the place of a key in the recipe's file, as near as it is known."""
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
    """Return a column in which the classes' own fields go before the recipe's variable."""
    stream = variable.stream if variable else f"variables.{name}"
    quantity = variable.quantity if variable else None
    if isinstance(quantity, PerClass):
        own = {**quantity.per_class, **own}
        quantity = quantity.default
    # Not validated: where types do not agree, that is said with its place.
    return Column(name, stream, PerClass.model_construct(per_class=own, default=quantity))


def _sha256(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _shown(recipe: ResolvedRecipe) -> dict[str, Any]:
    """Return what an image shows, as plain values."""
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
            # What they say counts, not where they lie.
            del captions["file"], captions["dataset"]
    # A key that came to the language later must not change the sets that do without it.
    for part, key, unset in _LATER_KEYS:
        holder = shown[part] if part else shown
        if holder[key] == unset:
            del holder[key]
    return shown
