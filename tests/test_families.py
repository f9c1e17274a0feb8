"""All families of the model presets: the batched renderer against one call per image."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_families
import torch
from test_render import SPECS

from factory.builder.build import build
from factory.cli.main import main
from factory.common.errors import UserError
from factory.models.inference import InferenceSettings
from factory.models.presets import find_preset
from factory.planner.plan import ImageSpec
from factory.recipe.library import load_recipe
from factory.recipe.model_checks import require_used_guidance
from factory.recipe.model_files import settings_on_disk, size_step_on_disk
from factory.recipe.resolved import ResolvedRecipe
from factory.renderer.capabilities import size_step
from factory.renderer.diffusers_renderer import DiffusersRenderer
from factory.renderer.pipelines import Pipelines

# Families that accept a negative prompt, and families with guidance.
FAMILIES: dict[str, tuple[Callable[..., Any], bool, bool]] = {
    "stable_diffusion": (tiny_families.stable_diffusion, True, True),
    "sdxl": (tiny_families.sdxl, True, True),
    "sd3": (tiny_families.sd3, True, True),
    "pixart": (tiny_families.pixart, True, True),
    "flux": (tiny_families.flux, False, True),
    "lcm": (tiny_families.lcm, False, True),
    "flux_schnell": (tiny_families.flux_schnell, False, False),
}


def recipe_for(folder: Path, **keys: Any) -> ResolvedRecipe:
    text = {
        "name": "r",
        "classes": [{"label": "cat", "prompt": "cat"}],
        "images_per_class": 5,
        "prompt": [{"text": "a {class}"}],
        "sampling": {"guidance_scale": {"uniform": [0.5, 8]}},
        "model": {"id": str(folder), "height": 16, "width": 16},
        "output": {},
    }
    return ResolvedRecipe.model_validate(text | keys)


PIPELINES = Pipelines(device="cpu")


def load(recipe: ResolvedRecipe) -> Any:
    return PIPELINES.get(recipe)


def stock(pipeline: Any, row: ImageSpec) -> np.ndarray:
    accepted = inspect.signature(type(pipeline).__call__).parameters
    wanted = {"use_resolution_binning": False}
    if row.negative_prompt:
        wanted["negative_prompt"] = row.negative_prompt  # type: ignore[assignment]
    image = pipeline(
        prompt=row.prompt,
        guidance_scale=row.guidance_scale,
        num_inference_steps=row.num_inference_steps,
        height=16,
        width=16,
        generator=torch.Generator().manual_seed(row.seed),
        output_type="np",
        **{name: value for name, value in wanted.items() if name in accepted},
    ).images[0]
    return np.asarray(image)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_equals_stock_calls(family: str, saved: Callable[[str], Path]) -> None:
    _, negative, guided = FAMILIES[family]
    recipe = recipe_for(saved(family))
    if not guided:
        recipe = recipe_for(saved(family), sampling={"guidance_scale": 0})
    renderer = DiffusersRenderer(load(recipe), recipe)
    rows = [row._replace(num_inference_steps=3) for row in SPECS]
    if not negative:
        rows = [row._replace(negative_prompt="") for row in rows]
    if not guided:
        rows = [row._replace(guidance_scale=0.0) for row in rows]
    generated = renderer._generate([*rows, rows[-1]])
    expected = [stock(load(recipe), row) for row in rows]
    assert all(image.std() > 0.02 for image in expected), "a uniform image would prove nothing"
    for image, alone in zip(generated, expected, strict=False):
        np.testing.assert_allclose(image.permute(1, 2, 0).numpy(), alone, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_files_and_pipeline_name_the_same_scheduler_and_size(
    family: str, saved: Callable[[str], Path]
) -> None:
    """Without a size in the recipe, images have the size that both report."""
    own = {"model": {"id": str(saved(family))}, "sampling": {"guidance_scale": 0}}
    recipe = recipe_for(saved(family), **own)
    loaded = DiffusersRenderer(load(recipe), recipe).pipeline_settings
    assert loaded == settings_on_disk(recipe.model)
    assert loaded.scheduler == type(load(recipe).scheduler).__name__
    if "flux" in family:
        assert loaded.height is None
        return
    row = SPECS[0]._replace(num_inference_steps=2, guidance_scale=0.0)
    (image,) = DiffusersRenderer(load(recipe), recipe).render([row], batch_size=1)
    assert image is not None and image.shape[:2] == (loaded.height, loaded.width)


@pytest.mark.parametrize("family", [name for name, (_, _, guided) in FAMILIES.items() if guided])
def test_each_image_has_its_own_guidance(family: str, saved: Callable[[str], Path]) -> None:
    """Guidance changes the image; otherwise the equality above would prove nothing."""
    recipe = recipe_for(saved(family))
    renderer = DiffusersRenderer(load(recipe), recipe)
    row = SPECS[1]._replace(negative_prompt="", num_inference_steps=3)
    low, high, again = renderer._generate([row._replace(guidance_scale=s) for s in (1.5, 8, 1.5)])
    assert (low - high).abs().max() > 1e-3
    assert (low - again).abs().max() < 1e-5


def test_a_turbo_generates_in_one_step_without_guidance(saved: Callable[[str], Path]) -> None:
    scheduler = {
        "scheduler": "EulerAncestralDiscreteScheduler",
        "scheduler_config": {"timestep_spacing": "trailing"},
    }
    model = {"id": str(saved("sdxl")), "height": 16, "width": 16}
    recipe = recipe_for(saved("sdxl"), model=model | scheduler, sampling={"guidance_scale": 0})
    rows = [
        row._replace(guidance_scale=0.0, num_inference_steps=1, negative_prompt="")
        for row in SPECS[:3]
    ]
    generated = DiffusersRenderer(load(recipe), recipe)._generate(rows)
    for row, image in zip(rows, generated, strict=True):
        alone = stock(load(recipe), row)
        assert alone.std() > 0.02, "a uniform image would prove nothing"
        np.testing.assert_allclose(image.permute(1, 2, 0).numpy(), alone, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_generates_in_bfloat16(family: str, saved: Callable[[str], Path]) -> None:
    recipe = recipe_for(saved(family), sampling={"guidance_scale": 0})
    pipeline = Pipelines(device="cpu").get(recipe, InferenceSettings(dtype="bfloat16"))
    rows = [row._replace(num_inference_steps=2, negative_prompt="") for row in SPECS[:2]]
    assert torch.isfinite(DiffusersRenderer(pipeline, recipe)._generate(rows)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_negative_prompt_counts_or_is_refused(family: str, saved: Callable[[str], Path]) -> None:
    recipe = recipe_for(saved(family), negative_prompt="dull", sampling={"guidance_scale": 1})
    if FAMILIES[family][1]:
        DiffusersRenderer(load(recipe), recipe)
        return
    with pytest.raises(UserError, match="does not support negative prompts") as raised:
        DiffusersRenderer(load(recipe), recipe)
    assert raised.value.faults[0].key == "negative_prompt"


def test_an_unknown_model_is_asked_whether_it_uses_low_guidance(
    saved: Callable[[str], Path], tmp_path: Path
) -> None:
    sampling = {"guidance_scale": {"uniform": [0.5, 5]}, "num_inference_steps": 1}
    with pytest.raises(UserError, match=r"can be 0\.5 to 5, but guidance below 1 has no effect"):
        build(recipe_for(saved("stable_diffusion"), sampling=sampling), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    recipe = recipe_for(saved("lcm"), sampling=sampling)
    require_used_guidance(recipe, DiffusersRenderer(load(recipe), recipe).pipeline_settings)


def test_guidance_where_there_is_none_is_refused(saved: Callable[[str], Path]) -> None:
    recipe = recipe_for(saved("flux_schnell"))
    with pytest.raises(UserError, match="does not support guidance") as raised:
        DiffusersRenderer(load(recipe), recipe)
    assert raised.value.faults[0].key == "sampling.guidance_scale"


@pytest.mark.parametrize(
    ("family", "steps", "words"),
    [
        ("stable_diffusion", 1000, "its timesteps go up to 1000, but the model's only to 999"),
        ("stable_diffusion", 1001, "cannot be larger than"),
        ("lcm", {"integers": [1, 51]}, "LCMScheduler cannot use 51 steps"),
    ],
)
def test_steps_beyond_those_of_the_training_are_refused(
    family: str, steps: Any, words: str, saved: Callable[[str], Path]
) -> None:
    sampling = {"guidance_scale": 3, "num_inference_steps": 4}
    recipe = recipe_for(saved(family), sampling=sampling)
    DiffusersRenderer(load(recipe), recipe)
    recipe = recipe_for(saved(family), sampling=sampling | {"num_inference_steps": steps})
    with pytest.raises(UserError, match=words):
        DiffusersRenderer(load(recipe), recipe)


@pytest.mark.parametrize(("family", "step"), [("stable_diffusion", 8), ("sd3", 8), ("flux", 8)])
def test_sizes_that_would_be_rounded_are_refused(
    family: str, step: int, saved: Callable[[str], Path]
) -> None:
    model = {"id": str(saved(family)), "height": 16, "width": 20}
    recipe = recipe_for(saved(family), model=model, sampling={"guidance_scale": 1})
    with pytest.raises(UserError, match=f"20 is not a multiple of {step}; write") as raised:
        DiffusersRenderer(load(recipe), recipe)
    assert raised.value.faults[0].key == "model.width"


@pytest.mark.parametrize("family", ["flux", "lcm", "sd3"])
def test_prompts_are_encoded_once(family: str, saved: Callable[[str], Path]) -> None:
    recipe = recipe_for(saved(family))
    renderer = DiffusersRenderer(load(recipe), recipe)
    rows = [SPECS[0]._replace(num_inference_steps=1, negative_prompt="")] * 2
    first = renderer._generate(rows)
    renderer._pipeline.text_encoder = None  # encoding again would fail
    assert torch.equal(renderer._generate(rows), first)


# What each family's models are trained with, and a scheduler of another one.
FLOW, NOISE = "FlowMatchEulerDiscreteScheduler", "DDIMScheduler"
MISFITS = [
    ("sd3", {"scheduler": NOISE}, FLOW),
    ("sd3", {"scheduler": "UniPCMultistepScheduler"}, "use_flow_sigmas: true"),
    ("flux", {"scheduler": NOISE}, FLOW),
    ("flux", {"scheduler": "FlowMatchHeunDiscreteScheduler"}, FLOW),
    (
        "flux",
        {
            "scheduler": "DPMSolverMultistepScheduler",
            "scheduler_config": {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
        },
        FLOW,
    ),
    ("sdxl", {"scheduler": FLOW}, NOISE),
    ("stable_diffusion", {"scheduler": "EDMEulerScheduler"}, NOISE),
    ("pixart", {"scheduler": "RePaintScheduler"}, NOISE),
    (
        "stable_diffusion",
        {
            "scheduler": "UniPCMultistepScheduler",
            "scheduler_config": {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
        },
        NOISE,
    ),
]


@pytest.mark.parametrize(("family", "changes", "named"), MISFITS)
def test_a_scheduler_of_another_family_is_refused_when_loaded_and_by_check(
    family: str,
    changes: dict[str, Any],
    named: str,
    saved: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = recipe_for(saved(family), model={"id": str(saved(family))} | changes)
    with pytest.raises(UserError, match="does not fit this model") as loaded:
        load(recipe)
    path = write_recipe(tmp_path, {"id": str(saved(family))} | changes)
    with pytest.raises(UserError, match="does not fit this model") as checked:
        main(["check", str(path)])
    for raised in (loaded, checked):
        (fault,) = raised.value.faults
        assert (fault.key, fault.message.count("\n")) == ("model.scheduler", 0)
        assert fault.message.startswith(changes["scheduler"]) and named in fault.message
    assert checked.value.faults[0].line == 5


@pytest.mark.parametrize(
    ("family", "scheduler"),
    [
        ("stable_diffusion", {"scheduler": "EulerDiscreteScheduler"}),
        ("pixart", {"scheduler": "DDIMScheduler"}),
        ("sd3", {"scheduler": "FlowMatchHeunDiscreteScheduler"}),
        (
            "flux",
            {
                "scheduler": "UniPCMultistepScheduler",
                "scheduler_config": {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
            },
        ),
    ],
)
def test_schedulers_that_fit_generate_images(
    family: str, scheduler: dict[str, Any], saved: Callable[[str], Path], tmp_path: Path
) -> None:
    model = {"id": str(saved(family)), "height": 16, "width": 16} | scheduler
    assert load_recipe(write_recipe(tmp_path, model))
    recipe = recipe_for(saved(family), model=model, sampling={"guidance_scale": 1})
    row = SPECS[0]._replace(num_inference_steps=4, negative_prompt="", guidance_scale=1.0)
    (image,) = DiffusersRenderer(load(recipe), recipe).render([row], batch_size=1)
    assert image is not None


def test_too_few_steps_for_a_scheduler_are_refused(saved: Callable[[str], Path]) -> None:
    model = {"id": str(saved("stable_diffusion")), "scheduler": "PNDMScheduler"}
    for steps, works in ((3, False), (4, True)):
        sampling = {"guidance_scale": 1, "num_inference_steps": steps}
        recipe = recipe_for(saved("stable_diffusion"), model=model, sampling=sampling)
        if works:
            DiffusersRenderer(load(recipe), recipe)
            continue
        with pytest.raises(UserError, match="PNDMScheduler cannot use 3 steps") as raised:
            DiffusersRenderer(load(recipe), recipe)
        assert raised.value.faults[0].key == "sampling.num_inference_steps"


@pytest.mark.parametrize("family", FAMILIES)
def test_files_and_pipeline_name_the_same_size_step(
    family: str, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    recipe = recipe_for(saved(family))
    step = size_step(load(recipe))
    assert size_step_on_disk(recipe.model) == step
    path = write_recipe(tmp_path, {"id": str(saved(family)), "height": 4 * step + 1})
    with pytest.raises(UserError, match=rf"height: {4 * step + 1} is not a multiple of {step};"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("preset", "keys", "words"),
    [
        ("embedded", {"height": 63}, "63 is not a multiple of 8; write 64"),
        ("sd3", {"width": 1000}, "1000 is not a multiple of 16; write"),
        ("flux", {"scheduler": NOISE}, f"flow-matching model; use {FLOW}"),
        ("sd15", {"scheduler": FLOW}, "which is a diffusion model; use DDIMScheduler or"),
    ],
)
def test_models_known_by_name_are_checked_without_their_files(
    preset: str, keys: dict[str, Any], words: str, tmp_path: Path
) -> None:
    found = find_preset(preset)
    assert found is not None
    with pytest.raises(UserError, match=words):
        load_recipe(write_recipe(tmp_path, {"id": found.id, "revision": found.revision} | keys))


def write_recipe(folder: Path, model: dict[str, Any]) -> Path:
    """Write a recipe with the scheduler on line 5."""
    order = ["id", *(key for key in model if key != "id")]
    path = folder / "r.yaml"
    lines = ["classes: [cat, dog]", "images_per_class: 1", 'prompt: "a {class}"', "model:"]
    if "scheduler" in model:
        order = ["scheduler", *(key for key in order if key != "scheduler")]
    path.write_text("\n".join([*lines, *(f"  {key}: {json.dumps(model[key])}" for key in order)]))
    return path
