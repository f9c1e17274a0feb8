"""The resolved recipe: all values filled in, all references resolved.

It is the input of plans, fingerprints and stored recipes. `factory.recipe.library` loads it from
files, whose format is in `factory.recipe.schema`.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any

import yaml
from pydantic import Field, PrivateAttr

from factory.common.errors import Fault
from factory.common.frozen import Frozen
from factory.common.yaml_nodes import Key, Node
from factory.distributions.base import ValueType
from factory.distributions.variables import Variable, joint_type
from factory.models.inference import GuidanceInterval
from factory.recipe.row_ranges import RowRanges, count_per_class, write_ranges
from factory.recipe.schema import ClassEntry, Model, Output, Sampling, WeightedText
from factory.recipe.variable_columns import Column, own_columns

__all__ = ["PLAN_VERSION", "Column", "Model", "Output", "ResolvedRecipe", "Sampling"]

PLAN_VERSION = 1
"""Increment this version whenever the same recipe would produce a different plan."""


# Keys that enter a fingerprint only if used: section, key, value that means unused.
_LATER_KEYS: tuple[tuple[str, str, Any], ...] = (
    ("", "same_images_as", None),
    ("sampling", "images_per_noise", 1),
    ("sampling", "guidance_interval", None),
    ("model", "adapters", []),
    ("output", "lanczos_version", None),
    ("output", "compression", None),
)


class ResolvedRecipe(Frozen):
    """A config with its own images, or a combination of configs.

    Attributes:
        name: Name of the config.
        summary: One-line description.
        source: Origin of the recipe.
        classes: Classes in label order, with their prompt texts.
        images_per_class: None for a combination of everything its members have, and of listed rows
            with different numbers of each class.
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
        rows: Images that a combination takes from each member, by its name and in the order of the
            members; empty for other combinations. `images_per_class` follows from it.
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
    rows: dict[str, RowRanges] = Field(default={})
    origins: tuple[str, ...] = ()

    _node: Node | None = PrivateAttr(default=None)
    _dropped: tuple[str, ...] = PrivateAttr(default=())

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, by label."""
        return tuple(entry.label for entry in self.classes)

    @property
    def is_combination(self) -> bool:
        """Whether it is made of other configs."""
        return self.combine is not None

    @property
    def stream_name(self) -> str:
        """Name of the config in the address of every random number."""
        return self.same_images_as or self.name

    @property
    def num_images(self) -> int:
        """Total number of images."""
        if self.images_per_class is None:
            return sum(self.class_counts)
        return self.images_per_class * len(self.classes)

    @property
    def is_union(self) -> bool:
        """Whether it has all images of its members, and reads their files."""
        return self.is_combination and self.images_per_class is None and not self.rows

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Number of images of each class, by label."""
        if self.rows:
            return self._listed_counts
        if self.images_per_class is not None:
            return (self.images_per_class,) * len(self.classes)
        own = [member.class_counts for member in self.members]
        return tuple(sum(counts) for counts in zip(*own, strict=True))

    @cached_property
    def _listed_counts(self) -> tuple[int, ...]:
        # Cached, since lists can be long and plans ask for each range of rows. No copy of a recipe
        # changes `rows`.
        return count_per_class(self.rows.values(), len(self.classes))

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Columns of the variables, by name; for a combination those of its members."""
        own = own_columns(self.variables, () if self.is_combination else self.classes)
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
        shown = _shown(self) | {"name": self.stream_name}
        kept = {key: one for key, one in shown.items() if key not in ("output", "same_images_as")}
        return _sha256(kept)

    def to_yaml(self) -> str:
        """Return the recipe as a file that loads with the same fingerprint.

        A combination refers to its members: their files must be in the same folder.
        """
        return recipe_to_yaml(self)

    def with_guidance_interval(self, interval: GuidanceInterval) -> ResolvedRecipe:
        """Return this recipe, and its members, with a guided part of the steps."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        fields["sampling"] = self.sampling.model_copy(update={"guidance_interval": interval})
        fields["members"] = tuple(one.with_guidance_interval(interval) for one in self.members)
        # Not a copy, which would keep the fingerprint.
        found = ResolvedRecipe.model_construct(**fields)
        found._node, found._dropped = self._node, self._dropped
        return found

    def without_file(self) -> ResolvedRecipe:
        """Return this recipe for messages that name the config instead of its file."""
        found = self.model_copy()
        found._node = None
        return found

    def fault(self, message: str, *path: Key) -> Fault:
        """Return a fault at the location of a key in the recipe's file, as precisely as known."""
        dotted = ".".join(str(part) for part in path) or None
        if self._node is None:
            return Fault(message, file=self.name, key=dotted)
        return self._node.find(path).place.fault(message, key=dotted)


def _sha256(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _shown(recipe: ResolvedRecipe) -> dict[str, Any]:
    """Return the values that determine the content of images."""
    if recipe.is_combination:
        combined: dict[str, Any] = {
            "version": PLAN_VERSION,
            "name": recipe.name,
            "members": [member.fingerprint for member in recipe.members],
            "equal_share": recipe.images_per_class is not None,
        }
        return combined | ({"rows": list(recipe.rows.values())} if recipe.rows else {})
    hidden = {"summary", "source", "images_per_class", "combine", "members", "rows", "origins"}
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


class _Dumper(yaml.SafeDumper):
    """Indents lists under their key and never writes anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Line(list[Any]):
    """A list that is written in one line."""


_Dumper.add_representer(
    _Line,
    lambda dumper, values: dumper.represent_sequence(
        "tag:yaml.org,2002:seq", values, flow_style=True
    ),
)


def recipe_to_yaml(recipe: ResolvedRecipe) -> str:
    """Return the text of a file that resolves to `recipe` again."""
    return dump_yaml(plain_recipe(recipe))


def dump_yaml(values: Any) -> str:
    """Return plain values as YAML, keys in the order given."""
    return yaml.dump(
        values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, indent=2
    )


def plain_recipe(recipe: ResolvedRecipe) -> dict[str, Any]:
    """Return a resolved recipe as the plain values of its file."""
    head = {"name": recipe.name, "summary": recipe.summary, "source": recipe.source}
    kept: dict[str, Any] = {key: text for key, text in head.items() if text}
    if recipe.origins:
        kept["origins"] = list(recipe.origins)
    if recipe.combine is not None:
        kept["combine"] = list(recipe.combine)
        if recipe.rows:
            kept["rows"] = {name: write_ranges(one) for name, one in recipe.rows.items()}
        elif recipe.images_per_class is not None:
            kept["images_per_class"] = recipe.images_per_class
        return kept
    kept["classes"] = [_class(entry) for entry in recipe.classes]
    kept["images_per_class"] = recipe.images_per_class
    kept["prompt"] = _prompt(recipe.prompt)
    kept["negative_prompt"] = recipe.negative_prompt
    if recipe.variables:
        kept["variables"] = {name: _plain(one) for name, one in recipe.variables.items()}
    kept["sampling"] = _sampling(recipe.sampling)
    kept["model"] = _model(recipe.model)
    kept["output"] = _output(recipe.output)
    if recipe.same_images_as:
        kept["same_images_as"] = recipe.same_images_as
    return kept


def _plain(model: Any) -> Any:
    return model.model_dump(mode="json", exclude_none=True)


def _class(entry: ClassEntry) -> dict[str, Any]:
    fields = {name: _plain(field) for name, field in entry.fields.items()}
    return {"label": entry.label, "prompt": _plain(entry.prompt), **fields}


def _prompt(prompt: tuple[WeightedText, ...]) -> Any:
    if len(prompt) == 1 and prompt[0].weight == 1:
        return prompt[0].text
    return [{"text": one.text, "weight": one.weight} for one in prompt]


def _sampling(sampling: Sampling) -> dict[str, Any]:
    written: dict[str, Any] = _plain(sampling)
    if sampling.guidance_interval:
        written["guidance_interval"] = _Line(sampling.guidance_interval.numbers)
    return written


def _model(model: Model) -> dict[str, Any]:
    # Not exclude_none: a null inside scheduler_config is a setting.
    written = {key: one for key, one in model.model_dump(mode="json").items() if one is not None}
    adapters = [_plain(adapter) for adapter in model.adapters]
    return {key: one for key, one in (written | {"adapters": adapters}).items() if one != []}


def _output(output: Output) -> dict[str, Any]:
    written: dict[str, Any] = _plain(output)
    if output.size and output.size[0] == output.size[1]:
        written["size"] = output.size[0]
    if output.antialias and not output.filters:
        # The default, which says nothing here; written out, it would be refused.
        del written["antialias"]
    return written


def equal_shares(total: int, members: int) -> list[int]:
    """Split `total` into parts that differ by at most one, the larger ones first."""
    return [total // members + (number < total % members) for number in range(members)]
