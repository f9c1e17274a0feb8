"""Measure the speed of guidance intervals with the embedded generator, on one CPU thread.

    python docs/measure_intervals.py [--rounds 5]

The same batch of 32 images is generated with each interval in turn, so that other work on the
machine slows all of them down. CPU time of the process, without loading the model, writing files,
and the first round. Prints a table: median, lowest and highest, and the passes of the network per
image (two of a guided step).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from factory.planner.plan import ImageSpec, plan
from factory.recipe.library import load_recipe
from factory.renderer.pool import Renderers
from factory.shards.settings import BuildSettings, fix

_INTERVALS = ("0,1", "0,0.5", "0.2,0.8", "0.2,1")
_BATCH = 32


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="times for each interval")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    overrides = ["model.id=embedded", "sampling.num_inference_steps=12"]
    recipes = {
        interval: load_recipe(
            "cifar10/random-guidance",
            overrides=[*overrides, f"sampling.guidance_interval={interval}"],
        )
        for interval in _INTERVALS
    }
    rows = plan(recipes[_INTERVALS[0]]).rows(0, _BATCH)
    inference = fix(BuildSettings(), recorded=None, device="cpu", out="").inference
    renderers = {
        interval: Renderers(None, device="cpu").get(recipe, inference)
        for interval, recipe in recipes.items()
    }
    speeds: dict[str, list[float]] = {interval: [] for interval in _INTERVALS}
    passes = {one: _passes(renderer, rows) for one, renderer in renderers.items()}
    for _ in range(rounds):
        for interval, renderer in renderers.items():
            start = time.process_time()
            renderer.render(rows, batch_size=_BATCH)
            speeds[interval].append(_BATCH / (time.process_time() - start))
    head = "| interval | images per CPU second | passes of the network per image |"
    sys.stdout.write(f"{inference.dtype}\n\n{head}\n|---|---:|---:|\n")
    for interval, found in speeds.items():
        speed = f"{statistics.median(found):.1f} [{min(found):.1f}, {max(found):.1f}]"
        sys.stdout.write(f"| {interval} | {speed} | {passes[interval]:.0f} |\n")


def _passes(renderer: Any, rows: Sequence[ImageSpec]) -> float:
    """Generate the batch once, and return the passes of the network per image."""
    seen: list[int] = []
    # The first layer, since the network itself is given both halves of a batch in every step.
    handle = renderer._pipeline.unet.conv_in.register_forward_pre_hook(
        lambda _, args: seen.append(len(args[0]))
    )
    renderer.render(rows, batch_size=_BATCH)
    handle.remove()
    return sum(seen) / len(rows)


if __name__ == "__main__":
    main()
