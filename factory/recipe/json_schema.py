"""The JSON schema of a recipe file, with which editors complete and check recipes."""

import json
from typing import Any

from factory.recipe.schema import Model, Output, RecipeFile, Sampling


def schema_text() -> str:
    """Return the JSON schema of a recipe file."""
    schema = RecipeFile.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Recipe"
    definitions = schema["$defs"]
    # A child may change one key of its parent's model without repeating the others.
    definitions["Model"].pop("required", None)
    for model in (RecipeFile, Model, Sampling, Output):
        part = schema if model is RecipeFile else definitions[model.__name__]
        for name, value in part["properties"].items():
            # Pydantic omits a description that equals the docstring of the referenced model.
            value.setdefault("description", model.model_fields[name].description)
            part["properties"][name] = _or_null(value)
    variables = _mapping_part(schema["properties"]["variables"])
    variables["additionalProperties"] = _or_null(variables["additionalProperties"])
    for definition in definitions.values():
        definition.pop("title", None)
    return json.dumps(_tidy(schema), indent=2, ensure_ascii=False) + "\n"


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Also accept null, which removes a parent's value; descriptions stay at the top level."""
    if {"type": "null"} in schema.get("anyOf", ()):
        return schema
    outer: dict[str, Any] = {
        key: schema[key] for key in ("description", "default", "title") if key in schema
    }
    inner = {key: value for key, value in schema.items() if key not in outer}
    either: dict[str, Any] = {"anyOf": [inner, {"type": "null"}]}
    return either | outer


def _mapping_part(schema: dict[str, Any]) -> dict[str, Any]:
    options: list[dict[str, Any]] = schema.get("anyOf", [schema])
    return next(one for one in options if "additionalProperties" in one)


def _tidy(value: Any) -> Any:
    """Join the lines of docstrings."""
    if isinstance(value, dict):
        return {
            key: " ".join(part.split())
            if key == "description" and isinstance(part, str)
            else _tidy(part)
            for key, part in value.items()
        }
    return [_tidy(part) for part in value] if isinstance(value, list) else value
