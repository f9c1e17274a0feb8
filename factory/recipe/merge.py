"""Merge a recipe with its parents and the changes of the command line into one node.

Every node keeps its location, so that a fault in an inherited part points to the parent's file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from factory.common.errors import Fault, UserError
from factory.common.text import expected_word
from factory.common.yaml_nodes import Node, Place, clipped, mapping_of
from factory.common.yaml_reader import MAX_DEPTH, parse
from factory.common.yaml_scalars import refuse_odd_text
from factory.models.embedded import EMBEDDED_ID
from factory.models.presets import AUTO, SAMPLING_KEYS, find_preset
from factory.recipe.schema import COMBINATION_KEYS

MERGED = ("variables", "sampling", "model", "output")
"""Keys whose mappings are merged key by key; all others are replaced."""

SamplingSource = Literal["recipe", "model"]
"""Source of guidance and steps: the recipe, or the model for plain numbers in the recipe."""

_NOT_INHERITED = ("name", "summary", "source", "extends", "same_images_as", "origins")


@dataclass(frozen=True)
class Overrides:
    """Changes of the command line, in order of application.

    Attributes:
        model: Id and related keys; replaces the recipe's model.
        sampling: `auto` for guidance and steps; replaces the recipe's plain numbers. None keeps
            them.
        images_per_class: A count; not applied to a union of all images.
        assignments: Paths with values, from `--set`.
    """

    model: Node | None = None
    sampling: Node | None = None
    images_per_class: Node | None = None
    assignments: tuple[tuple[tuple[str, ...], Node], ...] = ()


def read_overrides(
    assignments: Sequence[str] = (),
    *,
    images_per_class: int | None = None,
    model: str | None = None,
    sampling: SamplingSource = "recipe",
) -> Overrides:
    """Parse the command line's changes to a recipe.

    Args:
        assignments: Texts `key.path=value`, the value as YAML.
        images_per_class: Or None.
        model: A preset's name, `ID` or `ID@REVISION`, or None.
        sampling: `recipe` keeps the recipe's guidance and steps; `model` uses the model's own
            instead of plain numbers.

    Raises:
        UserError: Texts are not `key.path=value`; all of them at once.
    """
    if sampling not in get_args(SamplingSource):
        known = expected_word(sampling, get_args(SamplingSource))
        raise UserError(f"--sampling {sampling}: {known}")
    faults: list[Fault] = []
    parsed = []
    for text in assignments:
        try:
            parsed.append(_assignment(text))
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserError(faults)
    count = None
    if images_per_class is not None:
        count = Node(images_per_class, Place("--images-per-class"))
    own_model = _model(model) if model is not None else None
    own_sampling = None
    if sampling == "model":
        own_sampling = mapping_of(dict.fromkeys(SAMPLING_KEYS, AUTO), Place("--sampling model"))
    return Overrides(own_model, own_sampling, count, tuple(parsed))


def _assignment(text: str) -> tuple[tuple[str, ...], Node]:
    file = clipped(f"--set {text}")
    path, equals, value = text.partition("=")
    keys = tuple(key.strip() for key in path.split("."))
    if not equals or not all(keys):
        raise UserError(Fault("expected KEY=VALUE, e.g. sampling.seed=1", file=file))
    if len(keys) > MAX_DEPTH:
        raise UserError(Place(file).fault(f"has {len(keys)} levels; the deepest recipe key has 4"))
    if keys[0] == "extends":
        raise UserError(
            Fault("the parent cannot be set on the command line; edit the recipe", file=file)
        )
    if not value.strip():
        return keys, Node("", Place(file))
    return keys, parse(value, file=file, placed=False)


def _model(text: str) -> Node:
    model_id, _, revision = text.partition("@")
    place = Place(f"--model {text}")
    refuse_odd_text(text, place)
    preset = find_preset(model_id)
    keys = preset.model() if preset else {"id": model_id}
    return mapping_of(keys | ({"revision": revision} if revision else {}), place)


def merge(parent: Node, child: Node) -> Node:
    """Merge a child's recipe into its parent's.

    Args:
        parent: A merged mapping.
        child: A mapping as written; a key set to null removes the parent's key.
    """
    kept = {key: node for key, node in parent.value.items() if key not in _NOT_INHERITED}
    if "combine" in child.value:
        kept.pop("prompt", None)
    if "prompt" in child.value:
        kept.pop("combine", None)
    for key, node in child.value.items():
        before = kept.get(key)
        if node.value is None:
            kept.pop(key, None)
        elif key in MERGED and isinstance(node.value, dict):
            inherits = before is not None and isinstance(before.value, dict)
            if key == "model" and before is not None and _other_model(before, node):
                # Revision, scheduler and size belong to the parent's model, not to another one.
                inherits = False
            kept[key] = _updated(before if inherits else None, node)
        else:
            kept[key] = node
    return Node(kept, child.place)


def _other_model(before: Node, node: Node) -> bool:
    own, other = node.child("id"), before.child("id")
    return own is not None and other is not None and own.value != other.value


def _updated(before: Node | None, node: Node) -> Node:
    values = dict(before.value) if before is not None else {}
    for key, child in node.value.items():
        if child.value is None:
            values.pop(key, None)
        else:
            values[key] = child
    return Node(values, node.place, key_place=node.key_place)


def is_combination(node: Node) -> bool:
    """Return whether a merged recipe combines others."""
    return "combine" in node.value


def own_keys_only(node: Node, *, file: str, faults: list[Fault]) -> Node:
    """Remove inherited keys that a combination does not use, and report those in its own file."""
    kept = {}
    for key, child in node.value.items():
        if key in COMBINATION_KEYS:
            kept[key] = child
        elif child.place.file == file:
            place = child.key_place or child.place
            faults.append(
                place.fault(
                    "a combination generates no images itself; set this in its members", key=key
                )
            )
    return Node(kept, node.place)


def apply_overrides(node: Node, overrides: Overrides) -> Node:
    """Return a merged recipe with the command line's changes.

    A combination uses only its own keys; the rest is applied to its members.

    Raises:
        UserError: A path leads into something that is not a mapping.
    """
    combination = is_combination(node)
    values = dict(node.value)
    if overrides.model is not None and not combination:
        values["model"] = overrides.model
    if overrides.sampling is not None and not combination:
        values["sampling"] = _resampled(values.get("sampling"), overrides.sampling)
    if overrides.images_per_class is not None and _takes_count(values):
        values["images_per_class"] = overrides.images_per_class
    changed = Node(values, node.place)
    for path, value in overrides.assignments:
        if combination and path[0] not in COMBINATION_KEYS:
            continue
        if path == ("images_per_class",) and not _takes_count(changed.value):
            continue
        before = changed.child("model")
        changed = _assigned(changed, path, value)
        if (
            path == ("model", "id")
            and before is not None
            and _other_model(before, changed.value["model"])
        ):
            # As in a child recipe: settings of the previous model do not apply to this one.
            changed = _assigned(changed, ("model",), mapping_of({"id": value.value}, value.place))
    return changed


def dropped_keys(before: Node, after: Node) -> tuple[str, ...]:
    """Return the settings of a recipe's model that the command line's model does not keep.

    Its scheduler and size are not among them: summaries of the sampling show those.
    """
    old, new = before.child("model"), after.child("model")
    if old is None or new is None or not isinstance(old.value, dict):
        return ()
    return tuple(
        f"model.{key}"
        for key in ("scheduler_config", "adapters")
        if (own := old.child(key)) and own.value and not new.child(key)
    )


def _resampled(node: Node | None, model: Node) -> Node:
    """Replace plain numbers by the model's own; distributions are kept on purpose."""
    if node is None or not isinstance(node.value, dict):
        return model if node is None else node
    kept = {key: one for key, one in node.value.items() if isinstance(one.value, dict | list)}
    return Node(node.value | model.value | kept, node.place, key_place=node.key_place)


def resolve_auto(node: Node) -> Node:
    """Return a merged recipe with the model's own number for each `auto` in `sampling`.

    Raises:
        UserError: The model's own numbers are unknown.
    """
    sampling = node.child("sampling")
    if sampling is None or not isinstance(sampling.value, dict):
        return node
    asked = [key for key in SAMPLING_KEYS if (one := sampling.child(key)) and one.value == AUTO]
    if not asked:
        return node
    stated = node.child("model")
    named = stated.child("id") if stated and isinstance(stated.value, dict) else None
    model = str(named.value) if named else EMBEDDED_ID
    preset = find_preset(model)
    if preset is None:
        raise UserError(
            sampling.value[key].place.fault(
                f"the model's own {key} is unknown for {model}; write a number "
                f"(--set sampling.{key}=N)",
                key=f"sampling.{key}",
            )
            for key in asked
        )
    own = preset.sampling()
    values = {key: Node(own[key], sampling.value[key].place) for key in asked}
    resolved = Node(sampling.value | values, sampling.place, key_place=sampling.key_place)
    return Node({**node.value, "sampling": resolved}, node.place)


def _takes_count(values: dict[str, Node]) -> bool:
    return "combine" not in values or "images_per_class" in values


def _assigned(node: Node, path: tuple[str, ...], value: Node) -> Node:
    """Return a copy of `node` with `value` at `path`."""
    if not path:
        return value
    key = path[0]
    if isinstance(node.value, list) and key.isdecimal() and int(key) < len(node.value):
        items = list(node.value)
        items[int(key)] = _assigned(items[int(key)], path[1:], value)
        return Node(items, node.place, key_place=node.key_place)
    if not isinstance(node.value, dict):
        raise UserError(
            value.place.fault(
                f"'{key}' cannot be set: the value that should contain it is not a mapping"
            )
        )
    values = dict(node.value)
    if value.value is None and len(path) == 1:
        values.pop(key, None)
    else:
        below = values.get(key) or Node({}, value.place)
        values[key] = _assigned(below, path[1:], value).at_key(value.place)
    return Node(values, node.place, key_place=node.key_place)
