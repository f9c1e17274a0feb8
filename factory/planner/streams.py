"""Random numbers by address: (base seed, stream, index) to a number, each in constant time.

Philox is a counter-based generator: one step of its counter an index, so any range of any stream
is one call, whatever comes before it. Streams are named, and their keys hashed: adding one changes
no other.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

# One counter step yields four 64-bit words; one is used, so that index and counter stay the same.
_WORDS = 4


def _raw(base_seed: int, stream: tuple[str, ...], start: int, stop: int) -> NDArray[np.uint64]:
    # JSON, so that no two streams read the same: ("a", "b") is not ("ab",).
    address = json.dumps([base_seed, *stream]).encode()
    key = int.from_bytes(hashlib.blake2b(address, digest_size=16).digest(), "little")
    words = np.random.Philox(key=key, counter=start).random_raw((stop - start) * _WORDS)
    return words[::_WORDS]


def uniforms(
    base_seed: int, stream: tuple[str, ...], *, start: int, stop: int
) -> NDArray[np.float64]:
    """Return the stream's uniform numbers of a range of indexes.

    Args:
        base_seed: The set's, 0 or more.
        stream: Set name and name of the drawn quantity.
        start: First index.
        stop: One past the last index.

    Returns:
        float64 inside (0, 1), never an end of it: distributions may invert either tail.
        Shape (stop - start,).
    """
    bits = _raw(base_seed, stream, start, stop) >> np.uint64(12)
    return (bits.astype(np.float64) + 0.5) * 2.0**-52


def seeds(base_seed: int, stream: tuple[str, ...], *, start: int, stop: int) -> NDArray[np.int64]:
    """Return 63-bit, non-negative seeds of a range of indexes, int64, shape (stop - start,)."""
    return (_raw(base_seed, stream, start, stop) >> np.uint64(1)).astype(np.int64)


def attempt_seed(seed: int, attempt: int) -> int:
    """Return the seed of an image's later attempt: a function of its own seed and the number.

    Args:
        seed: The planned one, of attempt 0.
        attempt: From 0; 0 keeps the planned seed.
    """
    if attempt == 0:
        return seed
    return int(seeds(seed, ("attempt",), start=attempt, stop=attempt + 1)[0])
