"""Strong and weak scaling of a build with the embedded generator."""

from __future__ import annotations

from pathlib import Path

from .cpu_generation import build
from .timing import Figure, Scale, Spread, in_turn

_SHARD = 32


def run(folder: Path, scale: Scale, device: str) -> list[Figure]:
    """Measure whole commands: start, generation, manifest and card."""
    images = scale.pick(510, 120, 10)
    # Tests have one process: several need a launcher.
    pair = 1 if scale.in_process else 2
    options = ("--shard-size", str(_SHARD))
    done = in_turn(
        {
            name: lambda count=count, images=images: (
                build(folder, images, scale, "--processes", str(count), *options).seconds
            )
            for name, count, images in (
                ("one", 1, images),
                ("strong", pair, images),
                ("weak", pair, 2 * images),
            )
        },
        repeats=scale.pick(2, 1, 1),
    )
    strong = [one / (2 * two) for one, two in zip(done["one"], done["strong"], strict=True)]
    weak = [one / two for one, two in zip(done["one"], done["weak"], strict=True)]
    return [
        _efficiency(f"strong scaling, {images} images", done["strong"], done["one"], strong),
        _efficiency(f"weak scaling, {images} images per process", done["weak"], done["one"], weak),
    ]


def _efficiency(what: str, two: list[float], one: list[float], ratio: list[float]) -> Figure:
    note = "starting and finishing count"
    spreads = Spread.of(two), "1 process", Spread.of(one), Spread.of(ratio)
    return Figure(what, "s in 2 processes", *spreads, note=note)
