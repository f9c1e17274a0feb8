"""Measure the speed of guidance intervals with the embedded generator, on one CPU thread.

    python docs/measure_intervals.py [--rounds 5]

The same batch of 32 images is generated with each interval in turn, so that other work on the
machine slows all of them down. CPU time of the process, without loading the model, writing files,
and the first round. Prints a table: median, lowest and highest.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch

from factory.models.inference import GuidanceInterval, InferenceSettings
from factory.planner.plan import plan
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
    recipe = load_recipe("cifar10/random-guidance", overrides=overrides)
    rows = plan(recipe).rows(0, _BATCH)
    dtype = fix(BuildSettings(), recorded=None, device="cpu", out="").dtype
    renderers = {
        interval: Renderers(None, device="cpu").get(
            recipe, InferenceSettings(dtype, GuidanceInterval.parse(interval))
        )
        for interval in _INTERVALS
    }
    speeds: dict[str, list[float]] = {interval: [] for interval in _INTERVALS}
    for _ in range(rounds + 1):
        for interval, renderer in renderers.items():
            start = time.process_time()
            renderer.render(rows, batch_size=_BATCH)
            speeds[interval].append(_BATCH / (time.process_time() - start))
    sys.stdout.write(f"{dtype}\n\n| interval | images per CPU second |\n|---|---:|\n")
    for interval, found in speeds.items():
        low, *_, high = sorted(found[1:])
        median = statistics.median(found[1:])
        sys.stdout.write(f"| {interval} | {median:.1f} [{low:.1f}, {high:.1f}] |\n")


if __name__ == "__main__":
    main()
