"""Write a resolved recipe as YAML, which is stored beside the images and can be built again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from factory.recipe.resolved import ResolvedRecipe
    from factory.recipe.schema import ClassEntry, Model, Output, WeightedText


class _Dumper(yaml.SafeDumper):
    """Indents lists under their key and never writes anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


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
        if recipe.images_per_class is not None:
            kept["images_per_class"] = recipe.images_per_class
        return kept
    kept["classes"] = [_class(entry) for entry in recipe.classes]
    kept["images_per_class"] = recipe.images_per_class
    kept["prompt"] = _prompt(recipe.prompt)
    kept["negative_prompt"] = recipe.negative_prompt
    if recipe.variables:
        kept["variables"] = {name: _plain(one) for name, one in recipe.variables.items()}
    kept["sampling"] = _plain(recipe.sampling)
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
        # The default has no effect here; written out, it would be rejected.
        del written["antialias"]
    return written
