"""The embedded generator in plain diffusers; each function runs in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factory.common.resources import cores
from factory.models.embedded import embedded_dir

from . import ROOT, limits
from .cpu_generation import PROMPT, STEPS, usual_dtype
from .passes import Passes

_GUIDANCE = 3.0
_BATCH = 32
_MATMUL_SIDE = 2048


def _pipeline(dtype: str, threads: int) -> Any:
    import torch
    from diffusers import DiffusionPipeline

    torch.set_num_threads(threads)
    pipeline = DiffusionPipeline.from_pretrained(embedded_dir(), use_safetensors=True)
    pipeline.to(getattr(torch, dtype))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _generate(pipeline: Any, images: int) -> Any:
    return pipeline(
        [PROMPT] * images, guidance_scale=_GUIDANCE, num_inference_steps=STEPS, output_type="pil"
    ).images


def _speed(call: Callable[[], object], images: int, *, batch: int) -> tuple[float, float]:
    """Return images/s and CPU seconds per image of as many calls as these images need."""
    started, used, calls = time.perf_counter(), time.process_time(), -(-images // batch)
    for _ in range(calls):
        call()
    made = calls * batch
    return made / (time.perf_counter() - started), (time.process_time() - used) / made


def one_by_one(images: int) -> tuple[float, float]:
    """Measure one call per image in float32, on all cores; see `_speed`."""
    pipeline = _pipeline("float32", cores())
    _generate(pipeline, 1)
    return _speed(lambda: _generate(pipeline, 1), images, batch=1)


def in_batches(images: int) -> tuple[float, float]:
    """Measure calls with 32 images in the type of a build, on all cores; see `_speed`."""
    pipeline = _pipeline(usual_dtype(), cores())
    batch = min(_BATCH, images)
    _generate(pipeline, batch)
    return _speed(lambda: _generate(pipeline, batch), images, batch=batch)


def bare(images: int) -> tuple[float, float]:
    """Measure the forward passes alone, in the type of a build on one core; see `_speed`."""
    passes, batch = _passes(images)
    passes.run()
    return _speed(passes.run, images, batch=batch)


def limit(images: int) -> tuple[float, float]:
    """Measure products of large matrices on one core, with the operations of so many images.

    Returns:
        Images/s and CPU seconds per image, as if the passes were such products.
    """
    passes, batch = _passes(_BATCH)
    tflop = sum(limits.tflop_per_image(passes, batch))
    count = max(1, round(tflop * 1e12 * images / (2 * _MATMUL_SIDE**3)))
    used = time.process_time()
    speed = limits.matmul_tflops("cpu", usual_dtype(), side=_MATMUL_SIDE, count=count) / tflop
    # It makes one product more than it measures.
    return speed, (time.process_time() - used) * count / (count + 1) / images


def _passes(images: int) -> tuple[Passes, int]:
    """Return the passes of one batch, in the type of a build on one core, and its images."""
    import torch

    pipeline = _pipeline(usual_dtype(), 1)
    for network in (pipeline.unet, pipeline.vae):
        network.to(memory_format=torch.channels_last)
    batch = min(_BATCH, images)
    return Passes.of(pipeline, lambda: _generate(pipeline, batch)), batch


def bare_on_all_cores(images: int) -> tuple[float, float]:
    """Measure `bare` in a process per core, started together: the sum and the mean.

    A process measures when it is ready, so they overlap only roughly.
    """
    return _on_all_cores("bare", images)


def limit_on_all_cores(images: int) -> tuple[float, float]:
    """Measure `limit` in the same way."""
    return _on_all_cores("limit", images)


def _on_all_cores(name: str, images: int) -> tuple[float, float]:
    count = cores()
    words = ["-m", "tests.benchmarks.processes", f"stock:{name}", f"[{-(-images // count)}]"]
    running = [
        subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for _ in range(count)
    ]
    answers = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
    speeds, used = zip(*answers, strict=True)
    return sum(speeds), sum(used) / count


def first_images(folder: str) -> None:
    """Write ten images as PNG, as a script would."""
    pipeline = _pipeline(usual_dtype(), cores())
    for number, image in enumerate(_generate(pipeline, 10)):
        image.resize((32, 32)).save(Path(folder) / f"stock-{number}.png")
