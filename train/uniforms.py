"""Random numbers that depend only on seed, epoch and image.

A batch's augmentation is thus the same for any number of processes, and for a resumed run.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def uniforms(
    indices: npt.NDArray[np.int64], *, seed: int, epoch: int, num_draws: int
) -> npt.NDArray[np.float32]:
    """Return uniform numbers in [0, 1) for some images of an epoch.

    SplitMix64 (Steele, Lea, Flood, 2014) used as a counter-based generator: the counter is the
    number's index within its image, the stream is chosen by seed, epoch and image.

    Args:
        indices: Numbers of the images, shape (B,).
        seed: The run's seed.
        epoch: From 0.
        num_draws: Numbers per image.

    Returns:
        Shape (B, num_draws).
    """
    stream = _mix_int(_mix_int(seed & _MASK) + epoch)
    with np.errstate(over="ignore"):
        keys = _mix(indices.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(stream))
        counters = np.arange(1, num_draws + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
        bits = _mix(keys[:, None] + counters[None, :])
    # The top 24 bits fill a float32 exactly and stay below 1.
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def stream_seed(*parts: int) -> int:
    """Combine several integers into one 63-bit seed."""
    value = 0
    for part in parts:
        value = _mix_int(value + part)
    return value >> 1


def _mix(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _mix_int(value: int) -> int:
    with np.errstate(over="ignore"):
        return int(_mix(np.array([(value + _GOLDEN) & _MASK], dtype=np.uint64))[0])
