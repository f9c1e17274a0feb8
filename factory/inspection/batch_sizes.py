"""Find a batch size for a model."""

from __future__ import annotations

from dataclasses import dataclass

from factory.models.presets import find_preset
from factory.planner.plan import plan
from factory.recipe.library import load_recipe
from factory.recipe.resolved import ResolvedRecipe
from factory.renderer.batch_speed import LARGEST, BatchSpeed, Tried, try_sizes
from factory.renderer.placement import require_offload

_RECIPE = "quickstart/base-class"
_STEPS = 2


@dataclass(frozen=True)
class BatchSizes:
    """Batch sizes that fit into memory.

    Attributes:
        model: As given.
        steps: Steps of each measured image.
        own_steps: Steps that the model's recipes have.
        dtype: Type of the weights.
        device: Type of the device, e.g. `cpu`.
        tried: Batches that were generated.
        quantize: `int8` or `nf4`: weights of the network.
        offload: How parts of the model reached the device; see `place`.
    """

    model: str
    steps: int
    own_steps: int
    dtype: str
    device: str
    tried: Tried
    quantize: str | None = None
    offload: str | None = None

    @property
    def best(self) -> BatchSpeed:
        """The smallest batch that is nearly as fast as the fastest one."""
        return self.tried.best

    @property
    def slowest_estimate(self) -> float:
        """Images per second with the model's own steps, if these took all of the time."""
        return self.best.images_per_s * self.steps / self.own_steps


def measure_batch_sizes(
    model: str,
    *,
    seconds: float,
    device: str = "auto",
    allow_pickle: bool = False,
    quantize: str | None = None,
    offload: str | None = None,
) -> BatchSizes:
    """Generate batches of 1, 2, 4, ... images until memory or time is used up.

    Args:
        model: Preset name, Hub id or directory, with or without `@REVISION`.
        seconds: Time for generating; loading the model is not part of it.
        device: Type of the device to measure.
        allow_pickle: Whether to load pickled weights of a model without safetensors.
        quantize: `int8` or `nf4`: weights of the network.
        offload: How parts of the model reach the device; see `place`.

    Raises:
        UserError: The model cannot be loaded, or not in this way.
        Failure: Not even one image fits into memory.
    """
    import torch

    from factory.builder.ranks import own_device
    from factory.renderer.pool import Renderers
    from factory.shards.settings import BuildSettings, fix

    recipe, steps, own_steps = _recipe_of(model)
    found = own_device(device)
    require_offload(offload, str(found))
    settings = fix(BuildSettings(quantize=quantize), recorded=None, device=found.type, out="")
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        renderers = Renderers(None, device=found, allow_pickle=allow_pickle, offload=offload)
        renderer = renderers.get(recipe, settings.inference)
        rows = plan(recipe)
        tried = try_sizes(
            renderer,
            lambda size: rows.rows(0, size),
            name=recipe.model.id,
            seconds=seconds,
            sharing=1 if found.type == "cpu" else None,
        )
    finally:
        torch.set_num_threads(before)
    return BatchSizes(
        model,
        steps,
        own_steps,
        settings.dtype,
        found.type,
        tried,
        quantize,
        offload,
    )


def _recipe_of(model: str) -> tuple[ResolvedRecipe, int, int]:
    """Return a recipe for a model, the steps of its images, and those of the model's recipes."""
    preset = find_preset(model.partition("@")[0])
    own_steps = preset.num_inference_steps if preset else 40
    steps = min(_STEPS, own_steps)
    recipe = load_recipe(
        _RECIPE,
        model=model,
        images_per_class=LARGEST,
        overrides=[
            f"sampling.num_inference_steps={steps}",
            f"sampling.guidance_scale={preset.guidance_scale if preset else 7.5}",
        ],
    )
    return recipe, steps, own_steps
