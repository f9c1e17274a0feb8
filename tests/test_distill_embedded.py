"""docs/distill_embedded.py: its noise levels are diffusers' own, it resumes, its adapter loads."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import distill_embedded
import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler
from distill_embedded import Distillation

from factory.models.embedded import embedded_dir
from factory.recipe.library import load_recipe
from factory.renderer.pipelines import Pipelines


def _network(noisy: torch.Tensor, level: torch.Tensor, text: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(sample=0.3 * noisy + level.view(-1, 1, 1, 1) / 1000)


@pytest.mark.parametrize("level", [19, 499, 999])
def test_steps_and_images_are_those_of_the_schedulers(level: int) -> None:
    """Level 999 has no signal: nothing may be divided by it."""
    config = LCMScheduler.load_config(embedded_dir() / "scheduler")
    scheduler = LCMScheduler.from_config(config)
    distillation = Distillation(_network, _network, scheduler)
    noisy = torch.randn((1, 16, 8, 8), generator=torch.Generator().manual_seed(0))
    at, text = torch.tensor([level]), torch.zeros(1)
    velocity = _network(noisy, at, text).sample
    scheduler.set_timesteps(timesteps=[level])
    expected = scheduler.step(velocity, at[0], noisy)
    assert torch.allclose(distillation.image(noisy, at, text), expected.denoised)
    assert torch.equal(distillation.image(noisy, torch.tensor([0]), text), noisy)
    ddim = DDIMScheduler.from_config(config, clip_sample=False, set_alpha_to_one=False)
    ddim.set_timesteps(10)
    image, noise = distillation.parts(noisy, velocity, at)
    earlier = scheduler.add_noise(image, noise, (at - 100).clamp(min=0))
    assert torch.allclose(earlier, ddim.step(velocity, level, noisy).prev_sample)


def test_a_run_resumes_and_its_adapter_changes_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distill_embedded, "_BATCH", 2)
    monkeypatch.setattr(distill_embedded, "_TEACHER_STEPS", 2)
    recipe = tmp_path / "two.yaml"
    recipe.write_text('classes: [cat, dog]\nprompt: "a {class}"\n')
    for folder, steps in (("whole", 2), ("parts", 1), ("parts", 2)):
        words = [str(tmp_path / folder), "--recipe", str(recipe), "--images-per-class", "2"]
        words += ["--steps", str(steps)]
        monkeypatch.setattr(sys, "argv", ["distill_embedded.py", *words])
        distill_embedded.main()
    name = "pytorch_lora_weights.safetensors"
    files = [tmp_path / one / name for one in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()
    unets = []
    for adapters in ("[]", f"[{{id: {files[0]}}}]"):
        changes = [f"model.adapters={adapters}", "model.scheduler=LCMScheduler"]
        adapted = load_recipe("quickstart/base-class", model="embedded", overrides=changes)
        unets.append(Pipelines(device="cpu").get(adapted).unet)
    noisy, level, text = torch.ones(1, 16, 8, 8), torch.tensor([999]), torch.ones(1, 20, 192)
    with torch.no_grad():
        plain, other = (unet(noisy, level, text).sample for unet in unets)
    assert not torch.equal(plain, other)
