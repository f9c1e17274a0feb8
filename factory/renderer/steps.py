"""The numbers of denoising steps that a scheduler can take, asked of the scheduler itself."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from factory.common.errors import Fault, first_line

if TYPE_CHECKING:
    from factory.recipe.resolved import ResolvedRecipe


def step_faults(pipeline: Any, recipe: ResolvedRecipe) -> list[Fault]:
    """Return what is wrong with the fewest and most steps of a recipe for its pipeline's scheduler.

    Some schedulers need several steps to begin with; none takes more than a model was trained on.
    """
    scheduler = pipeline.scheduler
    if "mu" in inspect.signature(scheduler.set_timesteps).parameters:
        # These need a number that only the pipeline's call knows, and take any number of steps.
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
    """Return why a scheduler cannot take a number of steps, or None."""
    asked = type(scheduler).from_config(scheduler.config)
    try:
        asked.set_timesteps(steps)
    except (ValueError, IndexError) as error:
        return first_line(error)
    known = getattr(scheduler, "alphas_cumprod", None)
    latest = float(asked.timesteps.max())
    if known is None or latest < len(known):
        return None
    # Stable Diffusion's schedulers shift every time by one, their `steps_offset`.
    return f"its times reach {latest:g}, the model knows those up to {len(known) - 1}"
