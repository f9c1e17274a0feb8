"""What a family of pipelines can do, asked of the pipeline itself.

A recipe that wants something its model would silently ignore is refused: the rows would tell of
guidance scales and negative prompts that no picture has seen.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from factory.common.errors import Fault, UserError
from factory.recipe.model_checks import LEAST_SIZE_STEP, size_problem
from factory.renderer.guidance import network_of, takes_guidance_as_input
from factory.renderer.steps import step_faults

if TYPE_CHECKING:
    from factory.recipe.resolved import ResolvedRecipe


def require_able(pipeline: Any, recipe: ResolvedRecipe) -> None:
    """Refuse a recipe that asks for what its pipeline cannot do.

    Raises:
        UserError: a negative prompt, guidance, a size, or a number of steps; all at once.
    """
    faults = [*_negative_faults(pipeline, recipe), *_guidance_faults(pipeline, recipe)]
    faults += [*_size_faults(pipeline, recipe), *step_faults(pipeline, recipe)]
    if faults:
        raise UserError(faults)


def takes_negative_prompt(pipeline: Any) -> bool:
    """Whether a negative prompt changes what the pipeline draws as we call it."""
    accepted = inspect.signature(type(pipeline).__call__).parameters
    # With distilled guidance there is no unconditional half that a negative prompt could be in.
    return "negative_prompt" in accepted and not _is_distilled(pipeline)


def can_be_guided(pipeline: Any) -> bool:
    """Whether a guidance scale changes what the pipeline draws as we call it."""
    return takes_guidance_as_input(pipeline) or not _is_distilled(pipeline)


def _is_distilled(pipeline: Any) -> bool:
    """Whether `guidance_scale` never runs the network without its prompt."""
    accepted = inspect.signature(type(pipeline).__call__).parameters
    return "true_cfg_scale" in accepted or takes_guidance_as_input(pipeline)


def _negative_faults(pipeline: Any, recipe: ResolvedRecipe) -> list[Fault]:
    if not recipe.negative_prompt or takes_negative_prompt(pipeline):
        return []
    name = type(pipeline).__name__
    message = f"{recipe.model.id} draws without a negative prompt ({name}); remove it"
    return [recipe.fault(message, "negative_prompt")]


def _guidance_faults(pipeline: Any, recipe: ResolvedRecipe) -> list[Fault]:
    if recipe.sampling.guidance_scale.bounds()[1] <= 1 or can_be_guided(pipeline):
        return []
    message = (
        f"{recipe.model.id} draws without guidance ({type(pipeline).__name__} with this network); "
        "write 0, or choose a model that can be guided"
    )
    return [recipe.fault(message, "sampling", "guidance_scale")]


def _size_faults(pipeline: Any, recipe: ResolvedRecipe) -> list[Fault]:
    step = size_step(pipeline)
    return [
        recipe.fault(problem, "model", name)
        for name in ("height", "width")
        if (problem := size_problem(getattr(recipe.model, name), step))
    ]


def size_step(pipeline: Any) -> int:
    """Return what heights and widths must be multiples of, for no pipeline to round them."""
    if not hasattr(pipeline, "transformer"):
        return LEAST_SIZE_STEP
    patch = getattr(network_of(pipeline).config, "patch_size", None)
    if hasattr(pipeline, "_pack_latents"):
        # Latents are packed two by two before the network sees them.
        patch = 2
    return max(LEAST_SIZE_STEP, (getattr(pipeline, "vae_scale_factor", None) or 8) * (patch or 1))
