"""Peak memory and speed of the settings that trade exactness for them, on a GPU.

With `--device cpu` the same code runs with tiny models and without figures of memory.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tiny_families
import torch

from factory.models.inference import InferenceSettings

from . import gpu_models, parts
from .gaps import wait_for
from .timing import Figure, Scale, compared

_GIB = 2**30


@dataclass(frozen=True)
class _Setting:
    """How a model is computed.

    Attributes:
        option: As on the command line; empty for the plain model.
        inference: Fields of `InferenceSettings`.
        offload: See `factory.renderer.placement.place`.
        has_rate: Whether images/s of random weights mean anything.
    """

    option: str = ""
    inference: dict[str, Any] = field(default_factory=dict)
    offload: str | None = None
    has_rate: bool = True


@dataclass(frozen=True)
class _Model:
    """A model, its batch and its settings; the first setting is plain."""

    name: str
    make: Callable[[Path], Any]
    pixels: int
    batch: int
    steps: int
    settings: tuple[_Setting, ...]


_UNET = (
    _Setting(),
    _Setting("--vae-slicing", {"vae_slicing": True}),
    _Setting("--quantize int8", {"quantize": "int8"}),
    _Setting("--offload group", offload="group"),
)
_TRANSFORMER = (
    _Setting(),
    _Setting("--cache first-block", {"cache": "first-block"}, has_rate=False),
    _Setting("--cache cache-dit", {"cache": "cache-dit"}, has_rate=False),
    _Setting("--cache taylorseer", {"cache": "taylorseer"}),
)
_FULL = (
    _Model("Stable Diffusion 1.4", gpu_models.stable_diffusion, 512, 32, 8, _UNET),
    _Model("FLUX.1, fewer blocks", gpu_models.flux_of_fewer_blocks, 1024, 4, 12, _TRANSFORMER),
)
_TINY = (
    _Model("Stable Diffusion 1.4", tiny_families.stable_diffusion, 16, 2, 2, _UNET),
    _Model("FLUX.1, fewer blocks", tiny_families.deep_flux, 16, 2, 9, _TRANSFORMER),
)


def run(folder: Path, scale: Scale, device: str) -> list[Figure]:
    """Measure every setting of both models, one after the other."""
    found = []
    for number, model in enumerate(_FULL if device == "cuda" else _TINY):
        source = folder / f"model-{number}"
        _save(model, source, device)
        done = {
            one.option: _measure(model, one, source, folder / f"recipe-{number}", device)
            for one in model.settings
            if _possible(one, device)
        }
        for one in model.settings:
            if one.option in done:
                found += _figures(model, one, done[one.option], done[""], device)
    return found


def _possible(setting: _Setting, device: str) -> bool:
    """Return whether the machine can use a setting: weights on a CPU have nowhere to move to."""
    if setting.offload and device == "cpu":
        return False
    packages = {"--quantize int8": "torchao", "--cache cache-dit": "cache_dit"}
    package = packages.get(setting.option)
    return package is None or find_spec(package) is not None


def _save(model: _Model, source: Path, device: str) -> None:
    with torch.device(device):
        pipeline = model.make(source.with_name(f"{source.name}-parts"))
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    pipeline.to(dtype=torch.bfloat16).save_pretrained(source)
    del pipeline
    _free(device)


def _measure(
    model: _Model, setting: _Setting, source: Path, folder: Path, device: str
) -> tuple[float, float]:
    """Return the peak memory in GiB, 0 on a CPU, and images/s."""
    from factory.planner.plan import plan
    from factory.renderer.pool import Renderers

    recipe = parts.recipe(
        folder,
        2 * model.batch,
        classes=parts.CLASSES[:2],
        images_per_class=model.batch,
        prompt="a photo of a {class}",
        variables={},
        sampling={"guidance_scale": 3.0, "num_inference_steps": model.steps},
        model={"id": str(source), "height": model.pixels, "width": model.pixels},
        output={"format": "png"},
    )
    rows = plan(recipe).rows(0, model.batch)
    _free(device)
    inference = InferenceSettings(dtype="bfloat16", **setting.inference)
    renderer = Renderers(None, device=device, offload=setting.offload).get(recipe, inference)
    renderer.render(rows, batch_size=model.batch)
    wait_for(device)
    started = time.perf_counter()
    renderer.render(rows, batch_size=model.batch)
    wait_for(device)
    rate = model.batch / (time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() / _GIB if device == "cuda" else 0.0
    del renderer
    _free(device)
    return peak, rate


def _free(device: str) -> None:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _figures(
    model: _Model,
    setting: _Setting,
    done: tuple[float, float],
    plain: tuple[float, float],
    device: str,
) -> list[Figure]:
    name = f"{model.name}, {model.pixels} px, {setting.option or 'plain'}"
    other = "plain" if setting.option else ""
    note = f"batch of {model.batch}, {model.steps} steps"
    columns = [("peak memory", "GiB", 0)] if device == "cuda" else []
    columns += [("a batch", "images/s", 1)] if setting.has_rate else []
    return [
        compared(
            f"{name}: {what}",
            unit,
            [done[place]],
            other,
            [plain[place]] if other else [],
            note=note,
        )
        for what, unit, place in columns
    ]
