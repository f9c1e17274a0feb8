"""Check a recipe against the capabilities of its pipeline.

A recipe that uses something its model would silently ignore is rejected: otherwise rows would
record guidance scales and negative prompts that had no effect.
"""

import inspect
from typing import Any

from factory.common.errors import Fault, UserError, first_line
from factory.models.inference import Cache, GuidanceInterval, InferenceSettings
from factory.recipe.model_checks import LEAST_SIZE_STEP, interval_problem, size_problem
from factory.recipe.resolved import ResolvedRecipe
from factory.renderer.caches import cache_problem
from factory.renderer.guidance import network_of, takes_guidance_as_input


def require_able(pipeline: Any, recipe: ResolvedRecipe, inference: InferenceSettings) -> None:
    """Reject a recipe that uses something its pipeline does not support.

    Args:
        pipeline: The loaded pipeline.
        recipe: What is asked of it.
        inference: How it is to be computed.

    Raises:
        UserError: A negative prompt, guidance, a size, or a number of steps; all at once.
    """
    faults = [*_negative_faults(pipeline, recipe), *_guidance_faults(pipeline, recipe)]
    faults += [*_size_faults(pipeline, recipe), *step_faults(pipeline, recipe)]
    if interval := recipe.sampling.guidance_interval or inference.interval:
        faults += _interval_faults(pipeline, recipe, interval)
    if reuse := inference.reuse:
        faults += _cache_faults(pipeline, recipe, reuse)
    if faults:
        raise UserError(faults)


def takes_negative_prompt(pipeline: Any) -> bool:
    """Return whether a negative prompt has an effect on the pipeline as it is called here."""
    accepted = inspect.signature(type(pipeline).__call__).parameters
    # With distilled guidance there is no unconditional pass that could use a negative prompt.
    return "negative_prompt" in accepted and not _is_distilled(pipeline)


def can_be_guided(pipeline: Any) -> bool:
    """Return whether a guidance scale has an effect on the pipeline as it is called here."""
    return takes_guidance_as_input(pipeline) or not _is_distilled(pipeline)


def _is_distilled(pipeline: Any) -> bool:
    """Return whether the network never runs without its prompt, whatever `guidance_scale` is."""
    accepted = inspect.signature(type(pipeline).__call__).parameters
    return "true_cfg_scale" in accepted or takes_guidance_as_input(pipeline)


def _negative_faults(pipeline: Any, recipe: ResolvedRecipe) -> list[Fault]:
    if not recipe.negative_prompt or takes_negative_prompt(pipeline):
        return []
    name = type(pipeline).__name__
    message = f"{recipe.model.id} does not support negative prompts ({name}); remove it"
    return [recipe.fault(message, "negative_prompt")]


def _guidance_faults(pipeline: Any, recipe: ResolvedRecipe) -> list[Fault]:
    if recipe.sampling.guidance_scale.bounds()[1] <= 1 or can_be_guided(pipeline):
        return []
    message = (
        f"{recipe.model.id} does not support guidance ({type(pipeline).__name__} with this "
        "network); write 0, or choose a model that does"
    )
    return [recipe.fault(message, "sampling", "guidance_scale")]


def _interval_faults(
    pipeline: Any, recipe: ResolvedRecipe, interval: GuidanceInterval
) -> list[Fault]:
    problem = interval_problem(recipe, interval, is_input=takes_guidance_as_input(pipeline))
    return [recipe.fault(problem, "sampling", "guidance_interval")] if problem else []


def _cache_faults(pipeline: Any, recipe: ResolvedRecipe, cache: Cache) -> list[Fault]:
    if problem := cache_problem(pipeline, cache):
        message = f"{recipe.model.id} cannot use --cache {cache}: {problem}; remove the option"
        return [recipe.fault(message, "model", "id")]
    steps = int(recipe.sampling.num_inference_steps.bounds()[0])
    if cache.kind == "first-block" or steps > cache.warm_up:
        return []
    message = (
        f"--cache {cache} computes the first {cache.warm_up} steps, so that it would have no "
        f"effect on images of {steps}; use more steps, or remove the option"
    )
    return [recipe.fault(message, "sampling", "num_inference_steps")]


def _size_faults(pipeline: Any, recipe: ResolvedRecipe) -> list[Fault]:
    step = size_step(pipeline)
    return [
        recipe.fault(problem, "model", name)
        for name in ("height", "width")
        if (problem := size_problem(getattr(recipe.model, name), step))
    ]


def size_step(pipeline: Any) -> int:
    """Return the number that heights and widths must be multiples of, to avoid rounding."""
    if not hasattr(pipeline, "transformer"):
        return LEAST_SIZE_STEP
    patch = getattr(network_of(pipeline).config, "patch_size", None)
    if hasattr(pipeline, "_pack_latents"):
        # Latents are packed two by two before the network receives them.
        patch = 2
    return max(LEAST_SIZE_STEP, (getattr(pipeline, "vae_scale_factor", None) or 8) * (patch or 1))


def step_faults(pipeline: Any, recipe: ResolvedRecipe) -> list[Fault]:
    """Return faults of the lowest and highest number of steps for the pipeline's scheduler.

    Some schedulers need a minimum number; all are limited to the training steps of the model.
    """
    scheduler = pipeline.scheduler
    if "mu" in inspect.signature(scheduler.set_timesteps).parameters:
        # These need a number that only the pipeline's call computes, and accept any number of
        # steps.
        return []
    name = type(scheduler).__name__
    return [
        recipe.fault(
            f"{name} cannot use {steps} steps ({problem}); use another number or scheduler",
            *("sampling", "num_inference_steps"),
        )
        for steps in sorted({int(end) for end in recipe.sampling.num_inference_steps.bounds()})
        if (problem := _problem(scheduler, steps))
    ]


def _problem(scheduler: Any, steps: int) -> str | None:
    """Return why a scheduler cannot use a number of steps, or None."""
    asked = type(scheduler).from_config(scheduler.config)
    try:
        asked.set_timesteps(steps)
    except (ValueError, IndexError) as error:
        return first_line(error)
    known = getattr(scheduler, "alphas_cumprod", None)
    latest = float(asked.timesteps.max())
    if known is None or latest < len(known):
        return None
    # Stable Diffusion's schedulers shift every timestep by one, their `steps_offset`.
    return f"its timesteps go up to {latest:g}, but the model's only to {len(known) - 1}"
