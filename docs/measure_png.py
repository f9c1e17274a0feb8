"""Measure writing PNG files, with and without `output.compression: fast`, and other formats.

Images: two photographs that come with scikit-learn, and a drawn circle. One thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from statistics import median

import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_images

from factory.recipe.schema import Output
from factory.shards.parquet import encode_image

_SIZES = (1024, 512, 32)
_OUTPUTS = {
    "png": Output(),
    "png, `compression: fast`": Output(compression="fast"),
    "webp": Output(format="webp"),
    "jpeg": Output(format="jpeg"),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="times for each format")
    rounds = parser.parse_args().rounds
    sys.stdout.write(
        "| images | format | CPU ms | ratio | KB | ratio |\n|---|---|---:|---:|---:|---:|\n"
    )
    for size in _SIZES:
        _measure(f"photographs, {size} px", _photographs(size), rounds)
    for size in _SIZES:
        _measure(f"drawing, {size} px", [_drawing(size)], rounds)


def _photographs(size: int) -> list[np.ndarray]:
    whole = [Image.fromarray(one) for one in load_sample_images().images]
    squares = [one.crop((0, 0, min(one.size), min(one.size))) for one in whole]
    return [np.asarray(one.resize((size, size), Image.Resampling.LANCZOS)) for one in squares]


def _drawing(size: int) -> np.ndarray:
    image = Image.new("RGB", (size, size), "white")
    box = [size // 5, size // 5, size * 4 // 5, size * 4 // 5]
    ImageDraw.Draw(image).ellipse(box, fill=(200, 30, 30), outline="black", width=size // 30)
    return np.asarray(image)


def _measure(what: str, images: list[np.ndarray], rounds: int) -> None:
    used: dict[str, list[float]] = {name: [] for name in _OUTPUTS}
    sizes: dict[str, float] = {}
    # Small images many times: the clock of CPU time is coarse.
    repeats = max(1, (512 // images[0].shape[0]) ** 2)
    for _ in range(rounds):
        for name, output in _OUTPUTS.items():
            start = time.process_time()
            for _ in range(repeats):
                files = [encode_image(image, output) for image in images]
            used[name].append((time.process_time() - start) / repeats / len(images) * 1000)
            sizes[name] = sum(map(len, files)) / len(files) / 1000
    for name, found in used.items():
        ratio = median(one / plain for one, plain in zip(found, used["png"], strict=True))
        spread = f"{median(found):.3g} [{min(found):.3g}, {max(found):.3g}]"
        size = f"{sizes[name]:,.1f} | {sizes[name] / sizes['png']:.2f}"
        sys.stdout.write(f"| {what} | {name} | {spread} | {ratio:.2f} | {size} |\n")


if __name__ == "__main__":
    main()
