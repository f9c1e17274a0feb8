"""Operations of a pipeline's passes, and how fast the machine can do operations at all."""

from __future__ import annotations

import time

import torch

from .gaps import wait_for
from .passes import Passes


def tflop_per_image(passes: Passes, batch: int) -> tuple[float, float]:
    """Return the operations of an image in TFLOP, in all passes of the network and in the decoder.

    Args:
        passes: Of one batch.
        batch: Its images.
    """
    # Stock pipelines of this package, whose start is measured, do not need it.
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    for run in (passes.once, passes.decode_once):
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            run()
        counts.append(counter.get_total_flops() / batch / 1e12)
    return passes.count * counts[0], counts[1]


def matmul_tflops(device: str, dtype: str, *, side: int, count: int) -> float:
    """Return the speed of products of large square matrices, in TFLOP/s.

    Args:
        device: Device of torch.
        dtype: Name of the type.
        side: Rows and columns.
        count: Products.
    """
    one = torch.randn(side, side, device=device, dtype=getattr(torch, dtype))
    torch.matmul(one, one)
    wait_for(device)
    started = time.perf_counter()
    for _ in range(count):
        torch.matmul(one, one)
    wait_for(device)
    return 2 * side**3 * count / (time.perf_counter() - started) / 1e12
