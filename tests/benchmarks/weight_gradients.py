"""Weight gradients of convolutions: as a matrix product (`train`), and oneDNN's.

    python -m tests.benchmarks.weight_gradients [--rounds 5] [--batch 64] [--threads 1]

Shapes of ResNets and MobileNets at 32 and 224 px, float32, channels-last. Both ways in turn. Prints
the lowest time of each in ms, and their ratio. `train/small_maps.py` uses products for the shapes
with a `yes`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from factory.common.allocator import keep_freed_memory
from train.small_maps import _Convolution, _Convolve, use_matrix_products

# Channels of input and output, kernel, stride, side of the input, whether there is a bias.
_SHAPES = (
    *((96, 96, 3, 1, 1, False), (64, 64, 3, 1, 8, False), (128, 128, 3, 1, 4, False)),
    *((128, 256, 3, 2, 4, False), (256, 256, 3, 1, 2, False), (256, 512, 3, 2, 2, False)),
    *((512, 512, 3, 1, 1, False), (512, 2048, 1, 1, 1, False), (1024, 2048, 1, 2, 2, False)),
    *((512, 512, 3, 1, 4, False), (256, 512, 3, 2, 14, False), (512, 512, 3, 1, 7, False)),
    *((512, 512, 3, 1, 7, True), (512, 2048, 1, 1, 7, False), (96, 576, 1, 1, 7, False)),
    *((576, 96, 1, 1, 7, False), (576, 1024, 1, 1, 1, True), (256, 256, 3, 1, 8, False)),
    *((512, 512, 3, 1, 8, False), (256, 256, 3, 1, 14, False)),
)


def _lowest_ms(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    found = {name: float("inf") for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            found[name] = min(found[name], 1000 * (time.perf_counter() - started))
    return found


def _ways(layer: nn.Conv2d, images: Tensor) -> dict[str, Callable[[], object]]:
    """Return both ways to compute the gradients of the weights, and of the bias if there is one."""
    parameters = (layer.weight, layer.bias, layer.stride, layer.padding)
    wanted = [*layer.parameters()]
    outputs = {
        "oneDNN": nn.functional.conv2d(images, *parameters),
        "product": _Convolve.apply(images, *parameters),
    }
    gradient = torch.randn_like(outputs["oneDNN"])
    return {
        name: lambda out=out: torch.autograd.grad(out, wanted, gradient, retain_graph=True)
        for name, out in outputs.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    write = sys.stdout.write
    write("| channels | kernel | stride | map | oneDNN (ms) | product (ms) | ratio | used |\n")
    write("|---|---|---|---|---:|---:|---:|---|\n")
    for inputs, outputs, kernel, stride, side, bias in _SHAPES:
        layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)
        layer.to(memory_format=torch.channels_last)
        images = torch.randn(args.batch, inputs, side, side).to(memory_format=torch.channels_last)
        use_matrix_products(layer)
        used = isinstance(layer, _Convolution) and layer._has_small_map(images)
        found = _lowest_ms(_ways(layer, images), args.rounds)
        after = layer(images[:1]).shape[-1]
        write(
            f"| {inputs} to {outputs}{', bias' if bias else ''} | {kernel} | {stride} "
            f"| {side} to {after} "
            f"| {found['oneDNN']:.2f} | {found['product']:.2f} "
            f"| {found['oneDNN'] / found['product']:.2f} | {'yes' if used else 'no'} |\n"
        )


if __name__ == "__main__":
    main()
