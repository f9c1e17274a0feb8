"""The embedded generator in plain diffusers; each function runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from factory.common.resources import cores
from factory.models.embedded import embedded_dir

from . import ROOT
from .cpu_generation import PROMPT, STEPS
from .passes import Passes

_GUIDANCE = 3.0
_BATCH = 32


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


def one_by_one(images: int) -> float:
    """Return images/s of one call per image in float32, on all cores."""
    pipeline = _pipeline("float32", cores())
    _generate(pipeline, 1)
    started = time.perf_counter()
    for _ in range(images):
        _generate(pipeline, 1)
    return images / (time.perf_counter() - started)


def in_batches(images: int) -> float:
    """Return images/s of calls with 32 images in bfloat16, on all cores."""
    pipeline = _pipeline("bfloat16", cores())
    batch = min(_BATCH, images)
    _generate(pipeline, batch)
    started, calls = time.perf_counter(), -(-images // batch)
    for _ in range(calls):
        _generate(pipeline, batch)
    return batch * calls / (time.perf_counter() - started)


def bare(images: int) -> float:
    """Return images/s of the forward passes alone, in bfloat16 on one core."""
    import torch

    pipeline = _pipeline("bfloat16", 1)
    for network in (pipeline.unet, pipeline.vae):
        network.to(memory_format=torch.channels_last)
    batch = min(_BATCH, images)
    passes = Passes.of(pipeline, lambda: _generate(pipeline, batch))
    passes.run()
    started, calls = time.perf_counter(), -(-images // batch)
    for _ in range(calls):
        passes.run()
    return batch * calls / (time.perf_counter() - started)


def bare_on_all_cores(images: int) -> float:
    """Return images/s of the forward passes in a process per core, all together."""
    count = cores()
    words = ["-m", "tests.benchmarks.processes", "stock:bare", f"[{-(-images // count)}]"]
    running = [
        subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for _ in range(count)
    ]
    answers = [process.communicate()[0] for process in running]
    return sum(float(answer.split()[-1]) for answer in answers)


def first_images(folder: str) -> None:
    """Write ten images as PNG, as a script would."""
    pipeline = _pipeline("bfloat16", cores())
    for number, image in enumerate(_generate(pipeline, 10)):
        image.resize((32, 32)).save(Path(folder) / f"stock-{number}.png")
