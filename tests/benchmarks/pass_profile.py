"""A pass of the embedded generator's UNet by kind of layer, and the decoder's share of a batch."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from .cpu_generation import usual_dtype
from .network_variants import passes_of
from .profiles import REST

_KINDS = {
    "convolutions": "conv",
    "attention": "attention|softmax",
    "matrix products": "::(addmm|mm|bmm|baddbmm|matmul|linear)$",
    "norms": "norm",
    "activations": "silu|gelu|relu|sigmoid|tanh",
    "copies, other orders of memory": "copy|clone|cat$|contiguous|reorder|to_copy",
}
"""Part of the names of torch's operations, by kind; the first that fits counts."""
DECODER = "decoder"


def shares(images: int) -> dict[str, float]:
    """Return the % of a pass by kind of layer, and the decoder's % of all passes and decoding.

    The time of an operation is that of the profiler, without the operations that it calls: by the
    clock, in one thread. The decoder's is CPU time, without the profiler.

    Args:
        images: Images of the batch, guided.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        passes = passes_of(Path(folder), images, usual_dtype())
    with torch.inference_mode():
        passes.once(), passes.decode_once()
        network_s, decoder_s = _cpu_s(passes.once), _cpu_s(passes.decode_once)
        with profile(activities=[ProfilerActivity.CPU]) as found:
            for _ in range(passes.count):
                passes.once()
    times = dict.fromkeys([*_KINDS, REST], 0.0)
    for one in found.key_averages():
        times[_kind(one.key)] += one.self_cpu_time_total
    total = sum(times.values())
    percent = {kind: 100 * taken / total for kind, taken in times.items()}
    return percent | {DECODER: 100 * decoder_s / (passes.count * network_s + decoder_s)}


def _kind(operation: str) -> str:
    fitting = (kind for kind, names in _KINDS.items() if re.search(names, operation))
    return next(fitting, REST)


def _cpu_s(run: Callable[[], None]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started
