"""Warnings of words that a small model was never told."""

from pathlib import Path

import pytest
from recipe_texts import write

from factory.recipe.known_words import unknown_words
from factory.recipe.library import load_recipe
from factory.recipe.lint import lint

RECIPE = """\
classes: [sheep, {{label: dog, prompt: [dog, poodle]}}]
images_per_class: 2
prompt: "a {{kind}} of a Grey {{class}}, at night"
negative_prompt: blurry
variables: {{kind: [photo, sketsh], unused: [zebra]}}
model: {{id: {model}}}
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}", encoding="utf-8")
    words = "a of at dog photo sketch grey night ship"
    (folder / "words.txt").write_text(words.replace(" ", "\n"), encoding="utf-8")
    return folder


def test_unknown_words_are_named_with_the_nearest_known_ones(model: Path, tmp_path: Path) -> None:
    folder = write(tmp_path, pets=RECIPE.format(model=model))
    recipe = load_recipe(folder / "pets.yaml")
    (warning,) = unknown_words(recipe)
    assert str(warning) == (
        f"{folder}/pets.yaml:3:9: prompt: {model} was never told 'sketsh' (near: 'sketch'), "
        "'sheep', 'poodle', 'blurry'; it reads such words in pieces that mean little to it: "
        "reword, or name a --model that knows them"
    )
    assert warning in lint([recipe])


def test_a_model_without_a_list_knows_everything(model: Path, tmp_path: Path) -> None:
    (model / "words.txt").unlink()
    folder = write(tmp_path, pets=RECIPE.format(model=model))
    assert list(unknown_words(load_recipe(folder / "pets.yaml"))) == []


def test_long_lists_are_cut(model: Path, tmp_path: Path) -> None:
    names = ", ".join(f"thing{chr(97 + k)}" for k in range(12))
    text = RECIPE.format(model=model).replace("[sheep, ", f"[{names}, ")
    folder = write(tmp_path, pets=text)
    (warning,) = unknown_words(load_recipe(folder / "pets.yaml"))
    assert "'thingg' and 7 more; it reads" in str(warning)
