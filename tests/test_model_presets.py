"""`--model NAME`: the keys of a recipe that it replaces, and those that it keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recipe_texts import BASE, write

from factory.cli.main import main
from factory.cli.models import needs
from factory.common.errors import UserError
from factory.models.embedded import EMBEDDED_GUIDANCE_SCALE, EMBEDDED_STEPS
from factory.models.presets import PRESETS, ModelPreset, find_preset
from factory.recipe.library import load_recipe
from factory.recipe.lint import lint
from factory.recipe.resolved import ResolvedRecipe

ROOT = Path(__file__).parent.parent


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


guided = [one for one in PRESETS if one.guided]


@pytest.mark.parametrize("preset", guided, ids=lambda one: one.name)
def test_a_model_replaces_its_own_keys_and_never_sampling(
    preset: ModelPreset,
) -> None:
    for reference in (preset.name, preset.id):
        recipe = load_recipe("cifar10/multi-domain", model=reference)
        assert recipe.model.id == preset.id
        assert (recipe.model.height, recipe.model.width) == (preset.size, preset.size)
        assert recipe.model.scheduler == preset.scheduler
        assert numbers(recipe) == (7.5, 40)
        assert recipe.output.size == (32, 32)
        assert lint([recipe]) == []


@pytest.mark.parametrize("preset", PRESETS, ids=lambda one: one.name)
def test_sampling_model_takes_the_models_numbers(preset: ModelPreset) -> None:
    recipe = load_recipe("cifar10/multi-domain", model=preset.name, sampling="model")
    assert numbers(recipe) == (preset.guidance_scale, preset.num_inference_steps)
    assert lint([recipe]) == []


def test_plan_shows_the_papers_guidance_with_another_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["plan", "cifar10/base-class", "--model", "embedded"]
    rows = {}
    for sampling in ("recipe", "model"):
        main([*command, "--jsonl", "--range", "0:1", "--sampling", sampling])
        rows[sampling] = json.loads(capsys.readouterr().out)
    shown = {key: (row["guidance_scale"], row["num_inference_steps"]) for key, row in rows.items()}
    assert shown == {
        "recipe": (7.5, 40),
        "model": (EMBEDDED_GUIDANCE_SCALE, EMBEDDED_STEPS),
    }
    main([*command, "--json"])
    (config,) = json.loads(capsys.readouterr().out)["configs"]
    assert config["recipe"]["sampling"]["guidance_scale"] == 7.5
    assert config["cost"]["calls"] == 50_000 * 40 * 2


def test_a_recipe_may_say_auto(tmp_path: Path) -> None:
    text = BASE + "sampling: {guidance_scale: auto, num_inference_steps: 9}\n"
    folder = write(tmp_path, r=text)
    recipe = load_recipe(folder / "r.yaml")
    assert numbers(recipe) == (EMBEDDED_GUIDANCE_SCALE, 9)
    # What is stored beside a dataset holds the number, and nothing to look up.
    write(tmp_path, again=recipe.to_yaml())
    assert load_recipe(tmp_path / "again.yaml").sampling == recipe.sampling
    assert numbers(load_recipe(folder / "r.yaml", model="sdxl")) == (5, 9)
    set_auto = load_recipe("cifar10/base-class", overrides=["sampling.num_inference_steps=auto"])
    assert numbers(set_auto) == (7.5, 40)
    with pytest.raises(UserError, match="the model's own guidance_scale is unknown for org/other"):
        load_recipe(folder / "r.yaml", model="org/other")


def test_sampling_model_with_an_unknown_model_is_refused() -> None:
    with pytest.raises(UserError, match="the model's own num_inference_steps is unknown for org/x"):
        load_recipe("cifar10/base-class", model="org/x", sampling="model")


def test_the_revision_and_set_options_override_the_models_values() -> None:
    recipe = load_recipe(
        "cifar10/base-class",
        model="sdxl@abc",
        sampling="model",
        overrides=["sampling.num_inference_steps=7"],
    )
    assert recipe.model.revision == "abc"
    assert numbers(recipe) == (5, 7)


def test_another_id_by_set_keeps_nothing_of_the_model_before() -> None:
    recipe = load_recipe("cifar10/base-class", overrides=["model.id=org/other", "model.width=8"])
    model = recipe.model
    assert (model.id, model.revision, model.scheduler, model.height) == ("org/other", *[None] * 3)
    assert model.width == 8


def test_sampling_model_leaves_distributions() -> None:
    recipe = load_recipe("cifar10/random-guidance", model="embedded", sampling="model")
    assert recipe.sampling.guidance_scale.bounds() == (1, 5)
    assert numbers(recipe)[1] == EMBEDDED_STEPS


def test_an_unknown_model_sets_no_other_key(tmp_path: Path) -> None:
    write(tmp_path, r=BASE + "sampling: {guidance_scale: 2, num_inference_steps: 9}\n")
    assert numbers(load_recipe(tmp_path / "r.yaml", model="org/other")) == (2, 9)


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        ("sdxl-turbo", "sampling.guidance_scale=3", "cannot use guidance, found up to 3; write"),
        ("flux-schnell", "sampling.guidance_scale=7.5", "or choose a model that can be guided"),
        ("flux", "negative_prompt=dull", "FLUX.1-dev cannot use a negative prompt; remove it"),
        ("lcm", "negative_prompt=dull", "LCM_Dreamshaper_v7 cannot use a negative prompt"),
    ],
)
def test_a_value_the_model_cannot_use_is_refused(model: str, change: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("cifar10/base-class", model=model, overrides=[change])
    with pytest.raises(UserError, match=r"--sampling model.* or choose a model that can be guided"):
        load_recipe("cifar10/base-class", model="sd-turbo")
    with pytest.raises(UserError, match="cannot use guidance, found up to 5"):
        load_recipe("cifar10/random-guidance", model="sd-turbo", sampling="model")


@pytest.mark.parametrize(
    ("guidance", "low"),
    [
        ("0.5", "0.5"),
        ("-1", "-1"),
        ("[0.2, 7.5]", "0.2"),
        ("{uniform: [0.5, 5]}", "0.5 to 5"),
        ("{uniform: [0, 5]}", "0 to 5"),
        ("{normal: {mean: 7, std: 1}}", "-inf to inf"),
        ("{integers: [-1, 5]}", "-1"),
        ("{once: {uniform: [0.5, 5]}}", "0.5 to 5"),
        ("{per_class: {cat: {uniform: [0.9, 2]}}, default: 3}", "0.9 to 2"),
    ],
)
def test_guidance_that_has_no_effect_is_refused(guidance: str, low: str) -> None:
    change = [f"sampling.guidance_scale={guidance}"]
    said = f"guidance_scale: can be {low}, but guidance below 1 has no effect.* write 0 for no"
    with pytest.raises(UserError, match=said):
        load_recipe("cifar10/base-class", model="embedded", overrides=change)
    # It reads the scale as an input.
    load_recipe("cifar10/base-class", model="flux", overrides=change)


@pytest.mark.parametrize(
    "guidance",
    [
        "0",
        "[0, 1, 7.5]",
        "{uniform: [1, 5]}",
        "{integers: [0, 5]}",
        "{per_class: {cat: 0}, default: 1}",
    ],
)
def test_guidance_of_0_or_1_means_no_guidance(guidance: str) -> None:
    change = [f"sampling.guidance_scale={guidance}"]
    load_recipe("cifar10/base-class", model="embedded", overrides=change)


@pytest.mark.parametrize("model", ["embedded", "org/other"])
def test_a_negative_prompt_without_guidance_is_refused(model: str) -> None:
    changes = ["negative_prompt=dull", "sampling.guidance_scale=1"]
    with pytest.raises(
        UserError, match=r"has no effect at guidance 1: .*guidance_scale, or remove"
    ):
        load_recipe("cifar10/base-class", model=model, overrides=changes)
    load_recipe("cifar10/base-class", model=model, overrides=changes[:1])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "sdxll",
            "a directory nor a name for --model; did you mean 'sdxl'",
        ),
        ("zzz", "a name for --model; known: embedded, flux, flux-schnell, lcm"),
    ],
)
def test_a_misspelt_name_is_no_hub_id(model: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("cifar10/base-class", model=model)
    write(tmp_path, r=BASE.replace("embedded", "sdxl"))
    with pytest.raises(UserError, match="in a recipe write the id stabilityai/"):
        load_recipe(tmp_path / "r.yaml")


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models"])
    listed = capsys.readouterr().out
    sampling, needs, _ = listed.split("\n\n")
    assert len(sampling.splitlines()) == len(needs.splitlines()) == len(PRESETS) + 2
    main(["recipes", "models"])
    assert capsys.readouterr().out == listed
    main(["models", "--json"])
    first = json.loads(capsys.readouterr().out)["models"][0]
    assert (first["name"], first["num_inference_steps"]) == ("embedded", EMBEDDED_STEPS)
    assert (first["licence"], first["gated"]) == ("research-data", False)


def test_listed_needs_are_those_of_files_licences_and_speeds() -> None:
    by_name = {one.name: dict(zip(("name", *"lgdws"), needs(one), strict=True)) for one in PRESETS}
    assert all(one["l"] for one in by_name.values()), "a model without a licence"
    assert {name for name, one in by_name.items() if one["g"] == "yes"} == {
        *("sd3", "sd35", "flux", "flux-schnell")
    }
    parts = (ROOT / "factory/embedded").glob("*/*.safetensors")
    size = sum(path.stat().st_size for path in parts)
    embedded = find_preset("embedded")
    assert embedded is not None
    assert embedded.disk_gb == pytest.approx(size / 1e9, rel=0.01)
    # 40 steps with guidance of 1.591 s per 50 steps with guidance, 100 calls.
    assert by_name["sd14"]["s"].startswith("1.3 s on one A100 80 GB (published in fal-ai/")
    # No guidance in 4 calls, at the size of the figure.
    assert by_name["flux-schnell"]["s"].startswith("2 s on one L40")
    assert by_name["sd35"]["s"] == "not measured"
    assert (by_name["sdxl"]["d"], by_name["sdxl"]["w"]) == ("14", "6.9")
