"""Measure how fast the images of datasets are generated, on one CPU thread.

    python docs/measure_few_steps.py out/few/* [--rounds 5]

The first 32 images of each dataset are generated with its recorded settings, in turn, so that other
work on the machine slows all of them down. CPU time of the process, without loading the model,
writing files, and the first round. Prints median, lowest and highest.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

from factory.planner.plan import plan
from factory.renderer.pool import Renderers
from factory.shards.directory import require_set, stored_recipes

_BATCH = 32


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="+", type=Path, help="folders with one config each")
    parser.add_argument("--rounds", type=int, default=5, help="times for each dataset")
    args = parser.parse_args()
    torch.set_num_threads(1)
    speeds: dict[Path, list[float]] = {}
    work = {}
    for folder in args.datasets:
        manifest = require_set(folder)
        (recipe,) = stored_recipes(folder, manifest.configs).values()
        renderer = Renderers(None, device="cpu").get(recipe, manifest.settings.inference)
        work[folder] = renderer, plan(recipe).rows(0, _BATCH)
        renderer.render(work[folder][1], batch_size=_BATCH)
    for _ in range(args.rounds):
        for folder, (renderer, rows) in work.items():
            start = time.process_time()
            renderer.render(rows, batch_size=_BATCH)
            speeds.setdefault(folder, []).append(_BATCH / (time.process_time() - start))
    sys.stdout.write("| dataset | images per CPU second |\n|---|---:|\n")
    for folder, found in speeds.items():
        speed = f"{statistics.median(found):.1f} [{min(found):.1f}, {max(found):.1f}]"
        sys.stdout.write(f"| {folder} | {speed} |\n")


if __name__ == "__main__":
    main()
