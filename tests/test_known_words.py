"""Warnings about prompt words that a small model does not know."""

from pathlib import Path

import pytest
from recipe_texts import BASE, write

from factory.cli.arguments import warn_of_unknown_words
from factory.models.embedded import EMBEDDED_CLASSES, EMBEDDED_MEASURED, embedded_dir
from factory.recipe.known_words import known_words, rare_classes, unknown_words
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
        f"{folder}/pets.yaml:3:9: prompt: {model} does not know these prompt words: "
        "'sketsh' (near: 'sketch'), 'sheep', 'poodle', 'blurry'; images may not match the prompt. "
        "Use other words, or a larger model (e.g. --model sd15)"
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
    assert "'thingd' and 10 more; images" in str(warning)


def test_stop_words_are_ignored_and_short_words_have_no_near_match(
    model: Path, tmp_path: Path
) -> None:
    text = RECIPE.format(model=model).replace("at night", "it is still on the hip, with an elf")
    folder = write(tmp_path, pets=text)
    (warning,) = unknown_words(load_recipe(folder / "pets.yaml"))
    # 'hip' resembles the known 'ship'.
    assert "'hip', 'elf', 'sketsh' (near: 'sketch'), 'sheep', 'poodle' and 1 more" in str(warning)


def test_known_classes_that_were_not_measured_are_named(tmp_path: Path) -> None:
    classes = "[cat, elephant, {label: b, prompt: bicycle}, nosuchword, sea or lake, black dogs]"
    folder = write(tmp_path, pets=BASE.replace("[cat, dog]", classes))
    (warning,) = rare_classes(load_recipe(folder / "pets.yaml"))
    assert str(warning) == (
        f"{folder}/pets.yaml:1:10: classes: embedded knows these class names, but they are not "
        f"among its main classes: 'elephant', 'bicycle'. {EMBEDDED_MEASURED}. Check a preview "
        "before you build, or use a larger model (e.g. --model sd15)"
    )


def test_building_repeats_no_warning_about_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`new` and `check` have it; `build`, `preview` and `grow` warn about unknown words only."""
    text = BASE.replace("[cat, dog]", "[cat, elephant, nosuchword]")
    pets = load_recipe(write(tmp_path, pets=text) / "pets.yaml")
    assert any("main classes: 'elephant'" in str(one) for one in lint([pets]))
    warn_of_unknown_words([pets])
    warned = capsys.readouterr().err
    assert "'nosuchword'" in warned and "elephant" not in warned


def test_what_is_said_about_the_embedded_generator_is_in_its_readme() -> None:
    readme = (embedded_dir() / "README.md").read_text()
    shown = "airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck"
    assert readme.count(f"72 % of these samples show {shown}, in equal parts") == 2
    assert "| photographs: prompt accuracy, guidance 2 | 91.3 % |" in readme
    assert "| digits: prompt accuracy, guidance 2 | 84.5 % |" in readme
    for figure in ("72 %", "91.3 %", "84.5 %"):
        assert figure in EMBEDDED_MEASURED
    words = known_words("embedded")
    assert words is not None and words >= EMBEDDED_CLASSES
