import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from write_reference import EXAMPLES, ROOT, stale, write

from factory.recipe.library import list_recipes
from factory.recipe.scaffold import scaffold
from factory.recipe.schema import RecipeFile


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json.loads((ROOT / "recipes/schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_generated_files_are_current(tmp_path: Path) -> None:
    assert stale() == [], "run `make schema`"
    write(tmp_path)
    assert stale(tmp_path) == []
    page = tmp_path / "docs/models.md"
    assert "| sd14 |" in page.read_text().partition("`make schema` -->")[2]
    page.write_text("old")
    assert stale(tmp_path) == [page]


def test_packaged_recipes_are_accepted_and_point_at_it(validator: Any) -> None:
    entries = list_recipes()
    assert entries
    for entry in entries:
        text = entry.path.read_text()
        up = "../" * entry.name.count("/")
        assert text.splitlines()[0] == f"# yaml-language-server: $schema={up}schema.json"
        validator.validate(yaml.safe_load(text))


def test_new_recipes_are_accepted(validator: Any, tmp_path: Path) -> None:
    for path in scaffold("x", classes=["a b", "no"], out=tmp_path):
        if path.suffix == ".yaml":
            validator.validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_accepted(name: str, validator: Any) -> None:
    validator.validate({"variables": {"x": yaml.safe_load(EXAMPLES[name])}})


@pytest.mark.parametrize(
    "given",
    [
        {"variables": {"x": None}, "sampling": {"guidance_scale": None}, "output": None},
        {"model": {"height": 64}},
        {"classes": "digits"},
        {"classes": ["a", {"label": "b", "prompt": ["x", "y"], "field": {"uniform": [1, 2]}}]},
        {"prompt": ["a", {"text": "b", "weight": 2}]},
        {"output": {"size": [1, 2]}},
    ],
)
def test_the_schema_accepts_valid_recipes(given: object, validator: Any) -> None:
    validator.validate(given)


@pytest.mark.parametrize(
    "given",
    [
        {"promt": "x"},
        {"sampling": {"sed": 1}},
        {"model": {"idd": "x"}},
        {"output": {"sise": 3}},
        {"variables": {"a": {"unifrom": [1, 2]}}},
        {"variables": {"a": {"uniform": [1]}}},
        {"variables": {"a": {"uniform": [1, 2], "cycle": [1]}}},
        {"classes": [{"lable": "a"}]},
        {"prompt": [{"txt": "a"}]},
        {"sampling": {"noise": "shard"}},
        {"output": {"format": "jpg"}},
        {"classes": [True]},
        {"images_per_class": 0},
    ],
)
def test_the_schema_rejects_invalid_recipes(given: object, validator: Any) -> None:
    assert not validator.is_valid(given)


def test_every_key_has_a_text_to_hover_over() -> None:
    schema = json.loads((ROOT / "recipes/schema.json").read_text())
    assert set(schema["properties"]) == set(RecipeFile.model_fields)
    for part in (schema, *(schema["$defs"][name] for name in ("Model", "Sampling", "Output"))):
        for key, value in part["properties"].items():
            assert value.get("description"), key
