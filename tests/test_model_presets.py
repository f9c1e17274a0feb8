"""`--model NAME`: what it puts in place of a recipe's model, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe_texts import BASE, write

from factory.cli import main
from factory.embedded_model import EMBEDDED_STEPS
from factory.errors import UserError
from factory.library import load_recipe
from factory.lint import lint
from factory.model_presets import PRESETS, find_preset
from factory.recipe import ResolvedRecipe


def numbers(recipe: ResolvedRecipe) -> tuple[float, float]:
    sampling = recipe.sampling
    return sampling.guidance_scale.bounds()[0], sampling.num_inference_steps.bounds()[0]


def test_names_and_ids_are_distinct_and_commits_whole() -> None:
    names = [name for preset in PRESETS for name in (preset.name, preset.id)]
    # The embedded model's name is its id.
    assert len(set(names)) == len(names) - 1
    assert all(len(one.revision or "") == 40 for one in PRESETS if one.name != "embedded")
    assert find_preset("sdxl") == find_preset("stabilityai/stable-diffusion-xl-base-1.0")
    assert find_preset("org/other") is None


@pytest.mark.parametrize("preset", PRESETS, ids=lambda one: one.name)
def test_a_name_brings_what_belongs_to_the_model(preset: object) -> None:
    assert isinstance(preset, type(PRESETS[0]))
    for reference in (preset.name, preset.id):
        recipe = load_recipe("cifar10/multi-domain", model=reference)
        assert recipe.model.id == preset.id
        assert (recipe.model.height, recipe.model.width) == (preset.size, preset.size)
        assert recipe.model.scheduler == preset.scheduler
        assert numbers(recipe) == (preset.guidance_scale, preset.num_inference_steps)
        assert recipe.output.shape == (32, 32)
        assert lint([recipe]) == []


def test_a_revision_and_set_go_last() -> None:
    recipe = load_recipe(
        "cifar10/base-class", model="sdxl@abc", overrides=["sampling.num_inference_steps=7"]
    )
    assert recipe.model.revision == "abc"
    assert numbers(recipe) == (5, 7)


def test_a_distribution_is_a_trick_and_stays() -> None:
    recipe = load_recipe("cifar10/random-guidance", model="embedded")
    assert recipe.sampling.guidance_scale.bounds() == (1, 5)
    assert numbers(recipe)[1] == EMBEDDED_STEPS


def test_another_model_brings_nothing(tmp_path: Path) -> None:
    write(tmp_path, r=BASE + "sampling: {guidance_scale: 2, num_inference_steps: 9}\n")
    assert numbers(load_recipe(tmp_path / "r.yaml", model="org/other")) == (2, 9)


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        ("sdxl-turbo", "sampling.guidance_scale=3", "was distilled to draw without guidance"),
        ("flux-schnell", "sampling.guidance_scale=3", "was distilled to draw without guidance"),
        ("flux", "negative_prompt=dull", "FLUX.1-dev draws without a negative prompt; remove it"),
        ("lcm", "negative_prompt=dull", "LCM_Dreamshaper_v7 draws without a negative prompt"),
    ],
)
def test_what_a_model_cannot_do_is_refused(model: str, change: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("cifar10/base-class", model=model, overrides=[change])
    with pytest.raises(UserError, match="without guidance"):
        load_recipe("cifar10/random-guidance", model="sd-turbo")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "sdxll",
            "no directory and no name for --model; did you mean 'sdxl'",
        ),
        ("zzz", "no name for --model; known: embedded, flux, flux-schnell, lcm"),
    ],
)
def test_a_misspelt_name_is_no_hub_id(model: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("cifar10/base-class", model=model)
    write(tmp_path, r=BASE.replace("embedded", "sdxl"))
    with pytest.raises(UserError, match="a recipe writes the id, stabilityai/"):
        load_recipe(tmp_path / "r.yaml")


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["recipes", "models"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(PRESETS) + 2
