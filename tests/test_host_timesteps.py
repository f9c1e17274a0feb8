"""Denoising steps read no value from the device: those of `meta` tensors cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_families
import tiny_models
import torch
from test_render import SPECS, recipe_for

from factory.renderer.diffusers_renderer import DiffusersRenderer
from factory.renderer.host_timesteps import looks_up_timesteps, timesteps_on_host
from factory.renderer.pipelines import Pipelines

_BY_TIMESTEP = [
    *(None, "PNDMScheduler", "DDPMScheduler", "TCDScheduler"),
    "DDIMParallelScheduler",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


def _pipeline(model: Path, scheduler: str | None) -> tuple[Any, Any]:
    config = {"skip_prk_steps": True} if scheduler == "PNDMScheduler" else {}
    recipe = recipe_for(model, scheduler, **config)
    return Pipelines(device="cpu").get(recipe), recipe


@pytest.mark.parametrize("scheduler", _BY_TIMESTEP)
def test_a_step_does_not_wait_for_the_device(model: Path, scheduler: str | None) -> None:
    pipeline, recipe = _pipeline(model, scheduler)
    pipeline.to("meta")
    rows = [SPECS[0], SPECS[1]]
    images = DiffusersRenderer(pipeline, recipe)._generate(rows)
    assert (images.device.type, images.shape) == ("meta", (2, 3, 16, 16))
    # As the pipeline itself calls its scheduler, a value is read.
    latents = torch.zeros(2, 4, 8, 8, device="meta")
    with pytest.raises(RuntimeError, match="meta"):
        pipeline(["a"] * 2, latents=latents, num_inference_steps=3, output_type="latent")


@pytest.mark.parametrize("scheduler", _BY_TIMESTEP)
def test_images_are_the_same_with_timesteps_on_the_host(model: Path, scheduler: str | None) -> None:
    pipeline, recipe = _pipeline(model, scheduler)
    renderer, rows = DiffusersRenderer(pipeline, recipe), [SPECS[0], SPECS[1]]
    expected = renderer._generate(rows)
    with timesteps_on_host(pipeline):
        found = renderer._generate(rows)
    assert expected.std() > 0.05, "a uniform image would prove nothing"
    assert torch.equal(found, expected)
    assert "set_timesteps" not in vars(pipeline.scheduler), "the block left its change behind"


def test_schedulers_that_count_or_compute_and_transformers_are_left_alone(
    model: Path, tmp_path: Path
) -> None:
    assert not looks_up_timesteps(_pipeline(model, "EulerDiscreteScheduler")[0])
    assert not looks_up_timesteps(tiny_families.sd3(tmp_path / "sd3"))
    assert not looks_up_timesteps(tiny_families.lcm(tmp_path / "lcm"))
