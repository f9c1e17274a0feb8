"""Check numbers of denoising steps against the scheduler itself."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from factory.common.errors import Fault, first_line

if TYPE_CHECKING:
    from factory.recipe.resolved import ResolvedRecipe


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
