"""Measure what caches of transformers cost and save, with random weights, on one CPU thread.

    python docs/measure_caches.py [--rounds 3]

A transformer shaped like FLUX.1's generates the same image with each cache in turn, so that other
work on the machine slows all of them down. CPU time of the process, without loading and the first
round. `taylorseer` skips by a fixed schedule. How much the others skip depends on the weights, so
they are measured with a threshold so low that they skip nothing: this is what they cost. Peak
memory is that of a process of its own. Prints median, lowest and highest.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

from factory.models.inference import Cache
from factory.renderer.caches import cached

_CACHES = ("none", "taylorseer", "taylorseer:3", "first-block:0.000000001", "cache-dit:0.000000001")
_STEPS = (12, 40)
_PIXELS = 256
_TOKENS = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="times for each cache")
    parser.add_argument("--peak-of", choices=_CACHES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pipelines = {cache: _pipeline() for cache in ([args.peak_of] if args.peak_of else _CACHES)}
    if args.peak_of:
        _generate(pipelines[args.peak_of], args.peak_of, _STEPS[0])
        # `ru_maxrss` would be at least that of the process that started this one.
        status = Path("/proc/self/status").read_text()
        sys.stdout.write(str(int(status.partition("VmHWM:")[2].split()[0]) // 1024))
        return
    count = sum(one.numel() for one in pipelines["none"].transformer.parameters())
    sys.stdout.write(f"{count / 1e6:.0f} million parameters\n\n")
    heads = " | ".join(f"{steps} steps, CPU s per image" for steps in _STEPS)
    sys.stdout.write(f"| cache | {heads} | peak memory, MB |\n|---|---:|---:|---:|\n")
    found = {steps: _times(pipelines, steps, args.rounds) for steps in _STEPS}
    for cache in _CACHES:
        times = " | ".join(_range(found[steps][cache]) for steps in _STEPS)
        sys.stdout.write(f"| {cache} | {times} | {_peak(cache)} |\n")


def _pipeline() -> Any:
    """Return a pipeline with a network alone: prompts and images stay encoded."""
    torch.manual_seed(0)
    network = FluxTransformer2DModel(
        in_channels=64,
        num_layers=6,
        num_single_layers=12,
        attention_head_dim=64,
        num_attention_heads=6,
        joint_attention_dim=64,
        pooled_projection_dim=64,
        axes_dims_rope=(16, 24, 24),
        guidance_embeds=True,
    ).eval()
    made: Any = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        transformer=network,
        vae=None,
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
    )
    made.set_progress_bar_config(disable=True)
    return made


def _times(pipelines: dict[str, Any], steps: int, rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {cache: [] for cache in _CACHES}
    for number in range(rounds + 1):
        for cache, found in times.items():
            start = time.process_time()
            _generate(pipelines[cache], cache, steps if number else 9)
            if number:
                found.append(time.process_time() - start)
    return times


def _generate(pipeline: Any, cache: str, steps: int) -> None:
    """Generate one image, up to its latents."""

    def call() -> None:
        pipeline(
            prompt_embeds=torch.zeros(1, _TOKENS, 64),
            pooled_prompt_embeds=torch.zeros(1, 64),
            height=_PIXELS,
            width=_PIXELS,
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
        )

    _within(pipeline, cache, call)


def _within(pipeline: Any, cache: str, call: Callable[[], None]) -> None:
    if cache == "none":
        call()
        return
    with cached(pipeline, Cache.parse(cache), two_passes=False):
        call()


def _peak(cache: str) -> str:
    words = [sys.executable, __file__, "--peak-of", cache]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def _range(found: list[float]) -> str:
    return f"{statistics.median(found):.1f} [{min(found):.1f}, {max(found):.1f}]"


if __name__ == "__main__":
    main()
