"""Find a batch size that fits, by generating batches of growing size."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.common.devices import is_lack_of_memory
from factory.common.errors import Failure
from factory.common.resources import free_memory
from factory.models.presets import find_preset
from factory.planner.plan import plan
from factory.recipe.library import load_recipe
from factory.renderer.out_of_memory import free_device
from factory.renderer.placement import require_offload

if TYPE_CHECKING:
    from factory.recipe.resolved import ResolvedRecipe
    from factory.renderer.diffusers_renderer import Renderer

_RECIPE = "quickstart/base-class"
_LARGEST = 512
_STEPS = 2
# A batch that takes so little is repeated, since the first one of a size includes preparations.
_SHORT_S = 1.0
# Of the best speed that a smaller batch must reach to be recommended.
_NEARLY = 0.95


@dataclass(frozen=True)
class BatchSpeed:
    """A batch that was generated: its size, and the measured images per second."""

    batch_size: int
    images_per_s: float


@dataclass(frozen=True)
class BatchSizes:
    """Batch sizes that fit into memory.

    Attributes:
        model: As given.
        steps: Steps of each measured image.
        own_steps: Steps that the model's recipes have.
        dtype: Type of the weights.
        device: Type of the device, e.g. `cpu`.
        tried: Batches that fit, by size.
        stopped: Why no larger one was tried.
        quantize: `int8` or `nf4`: weights of the network.
        offload: How parts of the model reached the device; see `place`.
    """

    model: str
    steps: int
    own_steps: int
    dtype: str
    device: str
    tried: tuple[BatchSpeed, ...]
    stopped: str
    quantize: str | None = None
    offload: str | None = None

    @property
    def best(self) -> BatchSpeed:
        """The smallest batch that is nearly as fast as the fastest one."""
        fastest = max(one.images_per_s for one in self.tried)
        return next(one for one in self.tried if one.images_per_s >= _NEARLY * fastest)

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

    preset = find_preset(model.partition("@")[0])
    own_steps = preset.num_inference_steps if preset else 40
    steps = min(_STEPS, own_steps)
    recipe = load_recipe(
        _RECIPE,
        model=model,
        images_per_class=_LARGEST,
        overrides=[
            f"sampling.num_inference_steps={steps}",
            f"sampling.guidance_scale={preset.guidance_scale if preset else 7.5}",
        ],
    )
    found = own_device(device)
    require_offload(offload, str(found))
    settings = fix(BuildSettings(quantize=quantize), recorded=None, device=found.type, out="")
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        renderers = Renderers(None, device=found, allow_pickle=allow_pickle, offload=offload)
        renderer = renderers.get(recipe, settings.inference)
        tried, stopped = _try_sizes(renderer, recipe, seconds, on_cpu=found.type == "cpu")
    finally:
        torch.set_num_threads(before)
    return BatchSizes(
        model,
        steps,
        own_steps,
        settings.dtype,
        found.type,
        tuple(tried),
        stopped,
        quantize,
        offload,
    )


def _try_sizes(
    renderer: Renderer, recipe: ResolvedRecipe, seconds: float, *, on_cpu: bool
) -> tuple[list[BatchSpeed], str]:
    tried: list[BatchSpeed] = []
    size, started, peak = 1, time.perf_counter(), _peak_memory()
    while size <= _LARGEST:
        try:
            taken = _seconds(renderer, recipe, size)
        except (RuntimeError, MemoryError) as error:
            if not is_lack_of_memory(error):
                raise
            if not tried:
                raise Failure(
                    f"{recipe.model.id}: not even one image fits into memory; free memory, or use "
                    "a smaller model"
                ) from None
            free_device()
            return tried, f"{size} images do not fit into memory"
        tried.append(BatchSpeed(size, size / taken))
        size *= 2
        if time.perf_counter() - started + 2 * taken > seconds:
            return tried, f"the time of {seconds:g} s was used up"
        grown, available = _peak_memory() - peak, free_memory()
        # Linux would end this process; so larger batches are not tried.
        if on_cpu and available is not None and 2 * grown > available:
            return tried, f"{size} images may not fit into memory"
    return tried, f"larger batches than {_LARGEST} are not tried"


def _seconds(renderer: Renderer, recipe: ResolvedRecipe, size: int) -> float:
    """Return the time of generating one batch, the faster of two if they are short."""
    rows = plan(recipe).rows(0, size)
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        renderer.render(rows, batch_size=size)
        taken.append(time.perf_counter() - started)
        if taken[-1] > _SHORT_S:
            break
    return min(taken)


def _peak_memory() -> int:
    """Return the largest memory that this process has used, in bytes."""
    import resource

    # Linux counts in kilobytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
