"""The batched renderer against stock pipelines called once per image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch

from factory.common.errors import UserError
from factory.planner.plan import ImageSpec
from factory.recipe.schema import Output
from factory.renderer.diffusers_renderer import DiffusersRenderer
from factory.renderer.pipelines import Pipelines
from factory.renderer.prompt_encoder import PromptEncoder
from factory.renderer.resize import rescale

# Of diffusers 0.42 with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture(scope="module")
def pipelines() -> Pipelines:
    return Pipelines(device="cpu")


def spec(index: int, prompt: str, negative: str, scale: float, steps: int) -> ImageSpec:
    return ImageSpec(
        index=index,
        label=0,
        class_name="",
        recipe="r",
        prompt=prompt,
        negative_prompt=negative,
        variables={},
        guidance_scale=scale,
        num_inference_steps=steps,
        seed=2**62 + index,
    )


SPECS = [
    spec(0, "a cat", "", 1.0, 3),
    spec(1, "a dog", "dull", 5.0, 3),
    spec(2, "a ship", "", 1.7, 4),
    spec(3, "a cat", "", 0.5, 3),
    spec(4, "a red ship", "dull", 7.5, 4),
]


def recipe_for(model: Path, scheduler: str | None = None, **config: Any) -> Any:
    from factory.recipe.resolved import ResolvedRecipe

    return ResolvedRecipe.model_validate(
        {
            "name": "r",
            "classes": [{"label": "cat", "prompt": "cat"}],
            "images_per_class": 5,
            "prompt": [{"text": "a {class}"}],
            "sampling": {"guidance_scale": {"uniform": [0.5, 8]}},
            "model": {"id": str(model), "scheduler": scheduler, "scheduler_config": config or None},
            "output": {},
        }
    )


def stock(pipeline: Any, row: ImageSpec) -> np.ndarray:
    image = pipeline(
        prompt=row.prompt,
        negative_prompt=row.negative_prompt,
        guidance_scale=row.guidance_scale,
        num_inference_steps=row.num_inference_steps,
        generator=torch.Generator().manual_seed(row.seed),
        output_type="np",
    ).images[0]
    return np.asarray(image)


@pytest.mark.parametrize(
    "scheduler",
    [
        None,
        "DPMSolverMultistepScheduler",
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
    ],
)
def test_a_batch_equals_stock_calls(
    model: Path, pipelines: Pipelines, scheduler: str | None
) -> None:
    recipe = recipe_for(model, scheduler)
    pipeline = pipelines.get(recipe)
    renderer = DiffusersRenderer(pipeline, recipe)
    generated = torch.cat([_floats(renderer, [0, 1, 3]), _floats(renderer, [2, 4])])
    for row, image in zip([0, 1, 3, 2, 4], generated, strict=True):
        expected = stock(pipelines.get(recipe), SPECS[row])
        assert expected.std() > 0.05, "a uniform image would prove nothing"
        np.testing.assert_allclose(image.permute(1, 2, 0).numpy(), expected, atol=1e-4)


def _floats(renderer: DiffusersRenderer, rows: list[int]) -> torch.Tensor:
    chosen = [SPECS[row] for row in rows]
    return renderer._generate([*chosen, *[chosen[-1]] * (8 - len(chosen))])[: len(chosen)]


def test_images_come_in_order_whatever_their_steps(model: Path, pipelines: Pipelines) -> None:
    recipe = recipe_for(model)
    renderer = DiffusersRenderer(pipelines.get(recipe), recipe)
    together = renderer.render(SPECS, batch_size=8)
    for row, pixels in zip(SPECS, together, strict=True):
        assert pixels.shape == (16, 16, 3)
        expected = (stock(pipelines.get(recipe), row) * 255).round()
        assert np.abs(pixels.astype(float) - expected).max() <= 1


def test_an_image_does_not_depend_on_how_full_its_batch_is(
    model: Path, pipelines: Pipelines
) -> None:
    recipe = recipe_for(model)
    renderer = DiffusersRenderer(pipelines.get(recipe), recipe)
    unguided = [row._replace(guidance_scale=1.0) for row in SPECS[:2]]
    alone = renderer.render(unguided, batch_size=8)
    full = renderer.render([*unguided, *SPECS[2:]], batch_size=8)
    assert all(np.array_equal(one, other) for one, other in zip(alone, full, strict=False))


def test_distilled_guidance_gets_plain_numbers(tmp_path: Path) -> None:
    folder = tiny_models.save_stable_diffusion(tmp_path / "lcm", time_cond_proj_dim=8)
    recipe = recipe_for(folder)
    pipelines = Pipelines(device="cpu")
    renderer = DiffusersRenderer(pipelines.get(recipe), recipe)
    results = renderer.render(SPECS[:3], batch_size=2)
    for row, pixels in zip(SPECS, results, strict=False):
        expected = (stock(pipelines.get(recipe), row) * 255).round()
        assert np.abs(pixels.astype(float) - expected).max() <= 1


def test_each_pair_of_prompts_is_encoded_once(model: Path, pipelines: Pipelines) -> None:
    pipeline = pipelines.get(recipe_for(model))
    calls = []
    encode = pipeline.encode_prompt

    def counting(**arguments: Any) -> Any:
        calls.append(arguments["prompt"])
        return encode(**arguments)

    counting.__signature__ = __import__("inspect").signature(encode)  # type: ignore[attr-defined]
    pipeline.encode_prompt = counting
    encoder = PromptEncoder(pipeline)
    first = encoder.arguments([("a", ""), ("b", ""), ("a", "")])
    encoder.arguments([("b", ""), ("a", "")])
    assert calls == ["a", "b"]
    assert torch.equal(first["prompt_embeds"][0], first["prompt_embeds"][2])
    small = PromptEncoder(pipeline, cache_bytes=1)
    small.arguments([("a", ""), ("b", ""), ("a", "")])
    assert calls == ["a", "b", "a", "b", "a"]


def test_non_finite_values_give_no_image(model: Path, pipelines: Pipelines) -> None:
    recipe = recipe_for(model)
    renderer = DiffusersRenderer(pipelines.get(recipe), recipe)
    broken = torch.ones(5, 3, 4, 4)
    broken[2, 1, 0, 0] = torch.nan
    renderer._generate = lambda rows: broken[: len(rows)]  # type: ignore[method-assign]
    rows = [row._replace(num_inference_steps=3) for row in SPECS]
    results = renderer.render(rows, batch_size=5)
    assert [pixels is None for pixels in results] == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("model_keys", "message"),
    [
        ({"scheduler": "DDIMSheduler"}, "diffusers has no `DDIMSheduler`; similar: DDIMScheduler"),
        ({"scheduler": "UNet2DConditionModel"}, "diffusers has no `UNet2DConditionModel`"),
        (
            {"scheduler": "DDIMScheduler", "scheduler_config": {"timestep_spacng": "trailing"}},
            "timestep_spacng: DDIMScheduler has no such setting; similar: timestep_spacing",
        ),
        ({"id": "./nowhere"}, "model directory not found"),
        ({"id": "{tmp}"}, "has no model_index.json"),
        ({"id": "nobody/nothing", "revision": "abc"}, "model nobody/nothing@abc: cannot be loaded"),
    ],
)
def test_missing_models_are_refused(
    model: Path, tmp_path: Path, model_keys: dict[str, Any], message: str
) -> None:
    recipe = recipe_for(model)
    keys = {
        name: str(tmp_path) if value == "{tmp}" else value for name, value in model_keys.items()
    }
    wanted = recipe.model_copy(update={"model": recipe.model.model_copy(update=keys)})
    with pytest.raises(UserError, match=message) as caught:
        Pipelines(device="cpu").get(wanted)
    assert len(caught.value.faults) == 1
    assert "\n" not in str(caught.value)


def test_scheduler_settings_of_the_recipe_are_used(model: Path, pipelines: Pipelines) -> None:
    changed = pipelines.get(recipe_for(model, "DDIMScheduler", timestep_spacing="trailing"))
    assert changed.scheduler.config.timestep_spacing == "trailing"
    assert pipelines.get(recipe_for(model)).scheduler.config.timestep_spacing == "leading"


@pytest.mark.parametrize("resample", ["nearest", "bilinear", "bicubic", "lanczos", "area"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("lanczos_version", [None, 2])
def test_every_interpolation_keeps_a_ramp_a_ramp(
    resample: str, antialias: bool, lanczos_version: int | None
) -> None:
    ramp = torch.linspace(0, 1, 32).expand(2, 3, 16, 32)
    output = Output(
        size=(8, 16), resample=resample, antialias=antialias, lanczos_version=lanczos_version
    )
    results = rescale(ramp, output)
    assert len(results) == 2
    assert results[0].shape == (8, 16, 3)
    assert results[0].dtype == np.uint8
    line = results[0][4, :, 1].astype(float)
    np.testing.assert_allclose(line, (np.arange(16) * 2 + 0.5) / 31 * 255, atol=6)


def test_only_two_interpolations_have_the_choice_of_filtering() -> None:
    """`filters` decides, whatever `antialias` contains."""
    stripes = (torch.arange(32) % 2).float().expand(1, 3, 32, 32)
    for resample in ("nearest", "bilinear", "bicubic", "lanczos", "area"):
        for antialias in (True, False):
            output = Output(size=(6, 6), resample=resample, antialias=antialias, lanczos_version=2)
            (image,) = rescale(stripes, output)
            # A filter as wide as a pixel leaves grey of the stripes, less of it at the edges.
            assert (np.ptp(image[:, 1:-1].astype(int)) < 50) == output.filters, (output, image[0])


def test_lanczos_rounds_once_at_the_end() -> None:
    """Values between two steps of 1/255 are kept until the resize."""
    between = torch.full((1, 3, 8, 8), 0.4 / 255)
    between[..., ::2] = 0.8 / 255
    output = {"size": (4, 4), "resample": "lanczos"}
    (exact,) = rescale(between, Output(**output, lanczos_version=2))
    np.testing.assert_array_equal(exact[:, 1:-1], 1)  # 0.6
    (before,) = rescale(between, Output(**output))
    assert before.min() == 0  # 0.5, of pixels that were rounded to 0 and 1


def test_anti_aliasing_averages_neighbours() -> None:
    checkers = (torch.arange(32) % 2).float().expand(1, 3, 32, 32)
    smooth = rescale(checkers, Output(size=(8, 8), antialias=True))[0]
    rough = rescale(checkers, Output(size=(6, 6), antialias=False))[0]
    assert np.ptp(smooth[:, 1:-1]) <= 2
    assert np.ptp(rough) > 60
