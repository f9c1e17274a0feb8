"""Turn a merged recipe into a `ResolvedRecipe`: validate it and fill in defaults."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from factory.common.yaml_nodes import Key, Node
from factory.data.columns import CONFIG_NAME
from factory.distributions.discrete import Constant
from factory.models.embedded import EMBEDDED_ID
from factory.recipe.checks import (
    Checked,
    check_classes,
    check_columns,
    check_name,
    check_output,
    check_sampling,
    check_variables,
)
from factory.recipe.faults import faults_of
from factory.recipe.model_checks import (
    check_guidance,
    check_guidance_interval,
    check_model,
    check_scheduler,
    check_sizes,
)
from factory.recipe.pinning import (
    pinned_model,
    pinned_output,
    pinned_variables,
    require_pinned_captions,
)
from factory.recipe.resolved import ResolvedRecipe
from factory.recipe.schema import ClassEntry, Model, RecipeFile
from factory.recipe.template_checks import check_templates


def validate(checked: Checked) -> RecipeFile | None:
    """Check a merged recipe against the pydantic models.

    Invalid values are reported and removed, so that one bad key does not hide other faults.
    """
    node = checked.node
    for _ in range(3):
        try:
            return RecipeFile.model_validate(node.plain())
        except ValidationError as error:
            cuts = set()
            for path, fault in faults_of(error, node):
                checked.faults.append(fault)
                # Not inside `model`: without its id the model itself would be rejected.
                deep = path[:1] in (("variables",), ("sampling",), ("output",))
                cut = path[:2] if deep else path[:1]
                checked.refused.add(".".join(map(str, cut)))
                cuts.add(cut)
            node = _without(node, cuts)
        except RecursionError:
            checked.add("is nested too deeply; use fewer lists and mappings inside others")
            return None
    return None


def _without(node: Node, paths: Iterable[tuple[Key, ...]]) -> Node:
    """Return a mapping without the values at some paths; an empty path removes nothing."""
    if not isinstance(node.value, dict):
        return node
    inner: dict[Key, list[tuple[Key, ...]]] = {}
    for path in paths:
        if path:
            inner.setdefault(path[0], []).append(path[1:])
    values = {}
    for key, child in node.value.items():
        below = inner.get(key)
        if below is None:
            values[key] = child
        elif () not in below:
            values[key] = _without(child, below)
    return Node(values, node.place, key_place=node.key_place)


def assemble(
    checked: Checked, file: RecipeFile, *, name: str, folder: Path, stored: bool = False
) -> ResolvedRecipe:
    """Fill in a recipe that generates its own images.

    Args:
        checked: The node that was validated; faults are added to it. If it has any, the result
            must not be used.
        file: The validated recipe.
        name: The recipe's name if the file sets none.
        folder: Folder of the recipe file.
        stored: Whether the recipe is stored with a dataset: then it is used as written, and the
            model is not looked up.
    """
    _require(checked, file)
    classes = tuple(_with_wording(entry) for entry in file.classes or ())
    labels = [entry.label for entry in classes]
    model = file.model or Model(id=EMBEDDED_ID)
    recipe = ResolvedRecipe(
        name=set_name(checked, file, name),
        summary=file.summary,
        source=file.source,
        classes=classes,
        images_per_class=file.images_per_class,
        prompt=file.prompt or (),
        negative_prompt=file.negative_prompt,
        variables=file.variables
        if stored
        else pinned_variables(checked, file.variables, labels, folder),
        sampling=file.sampling,
        model=model if stored else pinned_model(checked, model, folder),
        output=file.output if stored else pinned_output(file.output),
        same_images_as=file.same_images_as,
    )
    recipe._node = checked.node
    if not check_columns(checked, recipe):
        return recipe
    check_classes(checked, recipe)
    check_variables(checked, recipe)
    # Without variables and classes the known names are incomplete.
    names_known = not {"variables", "classes"} & checked.refused
    check_templates(checked, recipe, names_known=names_known)
    check_sampling(checked, recipe)
    if stored:
        require_pinned_captions(checked, file.variables)
    else:
        # Not for stored recipes: older versions wrote values that are now rejected.
        check_guidance(checked, recipe)
        check_guidance_interval(checked, recipe)
        check_scheduler(checked, recipe)
        check_sizes(checked, recipe)
        check_output(checked, file.output)
        check_name(checked, recipe)
    check_model(checked, recipe)
    return recipe


def set_name(checked: Checked, file: RecipeFile, name: str) -> str:
    """Return the recipe's name, which becomes a directory and a config of the dataset."""
    chosen = file.name if file.name is not None else name
    if not CONFIG_NAME.fullmatch(chosen):
        checked.add(
            f"{chosen!r} is not a valid name: it becomes a directory; use letters, digits, '.', "
            "'_' and '-', at most 100 characters",
            *(["name"] if file.name is not None else []),
        )
    return chosen


def _require(checked: Checked, file: RecipeFile) -> None:
    remedies = {
        "classes": "add the name of a class list, or labels",
        "prompt": 'add one such as "a photo of a {class}", or `combine` other recipes',
        "images_per_class": "add a number",
        "model": "add one, such as {id: embedded}",
    }
    for key, remedy in remedies.items():
        if getattr(file, key) is None and not difflib.get_close_matches(key, checked.refused, n=1):
            checked.add(f"key '{key}' is missing; {remedy}")
    if file.prompt == ():
        checked.add("is an empty list; add at least one prompt", "prompt")
    if file.rows:
        checked.add("lists images of the members of a combination; add `combine`", "rows")
    for place, one in enumerate(file.prompt or ()):
        if not one.text.strip():
            listed = isinstance(checked.node.find(("prompt",)).value, list)
            path = ("prompt", place) if listed else ("prompt",)
            checked.add("is empty; write a prompt", *path)


def _with_wording(entry: ClassEntry) -> ClassEntry:
    if "prompt" in entry.model_fields_set:
        return entry
    wording = Constant(entry.label.replace("_", " "))
    return entry.model_copy(update={"prompt": wording})
