"""Random numbers by address: (base seed, stream, index) -> number, in constant time.

Philox is a counter-based generator with one counter step per index, so any range of a stream is one
call, independent of the numbers before it. Streams are named and their keys hashed: adding a stream
changes no other.
"""

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

# One counter step yields four 64-bit words; only one is used, so that index and counter are equal.
_WORDS = 4


def _raw(base_seed: int, stream: tuple[str, ...], start: int, stop: int) -> NDArray[np.uint64]:
    # JSON, so that different streams have different texts: ("a", "b") is not ("ab",).
    address = json.dumps([base_seed, *stream]).encode()
    key = int.from_bytes(hashlib.blake2b(address, digest_size=16).digest(), "little")
    words = np.random.Philox(key=key, counter=start).random_raw((stop - start) * _WORDS)
    return words[::_WORDS]


def uniforms(
    base_seed: int, stream: tuple[str, ...], *, start: int, stop: int
) -> NDArray[np.float64]:
    """Return the uniform numbers of a stream for a range of indexes.

    Args:
        base_seed: Base seed of the recipe, 0 or more.
        stream: Config name and quantity name.
        start: First index.
        stop: One past the last index.

    Returns:
        float64 in the open interval (0, 1), so that distributions may invert either tail.
        Shape (stop - start,).
    """
    bits = _raw(base_seed, stream, start, stop) >> np.uint64(12)
    return (bits.astype(np.float64) + 0.5) * 2.0**-52


def seeds(base_seed: int, stream: tuple[str, ...], *, start: int, stop: int) -> NDArray[np.int64]:
    """Return 63-bit, non-negative seeds for a range of indexes, int64, shape (stop - start,)."""
    return (_raw(base_seed, stream, start, stop) >> np.uint64(1)).astype(np.int64)


def attempt_seed(seed: int, attempt: int) -> int:
    """Return the seed of a later attempt at an image, from its planned seed and the attempt number.

    Args:
        seed: Planned seed.
        attempt: From 0; 0 returns the planned seed.
    """
    if attempt == 0:
        return seed
    return int(seeds(seed, ("attempt",), start=attempt, stop=attempt + 1)[0])
