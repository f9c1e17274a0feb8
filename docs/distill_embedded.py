"""Distil the embedded generator into an LCM-LoRA: an adapter for images in 2 to 8 steps.

    python docs/distill_embedded.py out/lcm

The method of Luo et al. (2023, arXiv 2311.05556) and of diffusers' script for it, for the prompts
of one recipe. The model itself generates the latent images to learn from, so no other data is
needed. From one noisy latent, the network with adapter must predict the same image as from the
less noisy one that the guided model makes of it in a DDIM step. Guidance is sampled for each image
and is unknown to the network, so the adapter learns its mean. Run again, it resumes. On a CPU. The
defaults were not tuned.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import LCMScheduler
from peft import LoraConfig, get_peft_model_state_dict
from torch import Tensor

from factory.planner.plan import plan
from factory.recipe.library import load_recipe
from factory.renderer.guidance import GuidancePerImage
from factory.renderer.pipelines import Pipelines
from factory.renderer.prompt_encoder import PromptEncoder

# Those of the published script; it also names layers that this network does not have.
_LAYERS = "to_q to_k to_v to_out.0 proj_in proj_out ff.net.0.proj ff.net.2 conv1 conv2"
_LAYERS += " conv_shortcut downsamplers.0.conv upsamplers.0.conv time_emb_proj"
_HUBER = 0.001
_BATCH = 32
_TEACHER_STEPS = 12
_EVERY = 20
_AVERAGE = 0.97


def main() -> None:
    """Generate the latents, train, and save the adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("out", type=Path, help="folder for the adapter and the files to resume from")
    add("--recipe", default="cifar10/random-guidance", help="its prompts are used")
    add("--guidance", nargs=2, type=float, default=[1.0, 3.0], help="lowest and highest")
    add("--images-per-class", type=int, default=32, help="latent images to learn from")
    add("--steps", type=int, default=1000, help="training steps")
    add("--rank", type=int, default=16)
    add("--lr", type=float, default=5e-4, help="learning rate")
    add("--jump", type=int, default=100, help="of 1,000 noise levels, in a step of the model")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    changes = [
        "model.id=embedded",
        "sampling.guidance_scale={{uniform: [{}, {}]}}".format(*args.guidance),
        f"sampling.num_inference_steps={_TEACHER_STEPS}",
        f"images_per_class={args.images_per_class}",
    ]
    recipe = load_recipe(args.recipe, overrides=changes)
    pipeline = Pipelines(device="cpu").get(recipe)
    data = _latents(pipeline, plan(recipe), args)
    _train(pipeline, data, args)


def _latents(pipeline: Any, rows: Any, args: argparse.Namespace) -> dict[str, Tensor]:
    """Return latents (images, channels, height, width), and text states of prompt and of none."""
    file = args.out / "latents.pt"
    found: dict[str, list[Tensor]] = torch.load(file) if file.is_file() else {}
    encoder = PromptEncoder(pipeline)
    for first in range(len(found.get("latents", [])) * _BATCH, len(rows), _BATCH):
        batch = rows.rows(first, min(first + _BATCH, len(rows)))
        texts = encoder.arguments([(row.prompt, "") for row in batch])
        made = pipeline(
            **texts,
            guidance_scale=GuidancePerImage([row.guidance_scale for row in batch]),
            num_inference_steps=batch[0].num_inference_steps,
            generator=[torch.Generator().manual_seed(row.seed) for row in batch],
            output_type="latent",
        ).images
        for name, part in (
            ("latents", made),
            ("text", texts["prompt_embeds"]),
            ("none", texts["negative_prompt_embeds"]),
        ):
            found.setdefault(name, []).append(part)
        torch.save(found, file)
        _log(f"{first + len(batch)} latents")
    return {name: torch.cat(parts) for name, parts in found.items()}


def _train(pipeline: Any, data: dict[str, Tensor], args: argparse.Namespace) -> None:
    """Train the adapter; a checkpoint is written every few steps."""
    torch.manual_seed(0)
    student, teacher = pipeline.unet, copy.deepcopy(pipeline.unet)
    student.requires_grad_(False)
    student.add_adapter(
        LoraConfig(r=args.rank, lora_alpha=args.rank, target_modules=_LAYERS.split())
    )
    weights = [one for one in student.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=args.lr)
    # The saved adapter is the moving average of the weights, so that a run can end anywhere.
    average = [one.detach().clone() for one in weights]
    file, start = args.out / "checkpoint.pt", 0
    if file.is_file():
        saved = torch.load(file)
        start = saved["step"]
        average = saved["average"]
        optimizer.load_state_dict(saved["optimizer"])
        _copy(saved["weights"], weights)
    teach = Distillation(student, teacher, LCMScheduler.from_config(pipeline.scheduler.config))
    losses: list[float] = []
    for step in range(start, args.steps):
        # A generator per step, so that a resumed run uses the same numbers.
        loss = teach.loss(data, args, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        torch._foreach_lerp_(average, [one.detach() for one in weights], 1 - _AVERAGE)
        losses.append(loss.item())
        if (step + 1) % _EVERY == 0 or step + 1 == args.steps:
            mean = sum(losses) / len(losses)
            _log(f"step {step + 1}: loss {mean:.4f}, {time.process_time():.0f} CPU s")
            losses.clear()
            now = [one.detach().clone() for one in weights]
            state = {"step": step + 1, "weights": now, "average": average}
            torch.save(state | {"optimizer": optimizer.state_dict()}, file)
            _copy(average, weights)
            pipeline.save_lora_weights(
                args.out, unet_lora_layers=get_peft_model_state_dict(student)
            )
            _copy(now, weights)


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    with torch.no_grad():
        torch._foreach_copy_(target, source)


class Distillation:
    """The loss of one step; all noise levels are those of LCMScheduler."""

    def __init__(self, student: Any, teacher: Any, scheduler: Any) -> None:
        self._student, self._teacher, self._scheduler = student, teacher, scheduler
        every = scheduler.config.num_train_timesteps // scheduler.config.original_inference_steps
        self._levels = torch.arange(every, scheduler.config.num_train_timesteps + 1, every) - 1

    def loss(self, data: dict[str, Tensor], args: Any, random: torch.Generator) -> Tensor:
        """Return the mean pseudo-Huber distance of a batch to its targets."""
        chosen = torch.randint(len(data["latents"]), (_BATCH,), generator=random)
        latents, text, none = (data[name][chosen] for name in ("latents", "text", "none"))
        later = self._levels[torch.randint(len(self._levels), (_BATCH,), generator=random)]
        # At level 0, the boundary condition makes the network's output its input.
        earlier = (later - args.jump).clamp(min=0)
        low, high = args.guidance
        guidance = low + (high - low) * torch.rand((_BATCH, 1, 1, 1), generator=random)
        noise = torch.randn(latents.shape, generator=random)
        noisy = self._scheduler.add_noise(latents, noise, later)
        with torch.no_grad():
            both = self._teacher(
                torch.cat([noisy, noisy]), torch.cat([later, later]), torch.cat([none, text])
            ).sample
            without, prompted = both.chunk(2)
            velocity = without + guidance * (prompted - without)
            image, noise = self.parts(noisy, velocity, later)
            less_noisy = self._scheduler.add_noise(image, noise, earlier)
            target = self.image(less_noisy, earlier, text)
        error = self.image(noisy, later, text) - target
        return (error.square() + _HUBER**2).sqrt().sub(_HUBER).mean()

    def image(self, noisy: Tensor, level: Tensor, text: Tensor) -> Tensor:
        """Return the network's image, as LCMScheduler computes it."""
        image, _ = self.parts(noisy, self._student(noisy, level, text).sample, level)
        skip, out = self._scheduler.get_scalings_for_boundary_condition_discrete(level)
        return skip.view(-1, 1, 1, 1) * noisy + out.view(-1, 1, 1, 1) * image

    def parts(self, noisy: Tensor, velocity: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return image and noise of a noisy latent; at zero SNR nothing is divided by 0."""
        signal = self._scheduler.alphas_cumprod[level].view(-1, 1, 1, 1)
        a, s = signal.sqrt(), (1 - signal).sqrt()
        return a * noisy - s * velocity, s * noisy + a * velocity


def _log(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
