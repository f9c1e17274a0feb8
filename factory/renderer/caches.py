"""Reuse parts of a transformer between steps, with caches of diffusers or cache-dit."""

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from factory.models.inference import Cache
from factory.renderer.block_caches import FIRST_BLOCKS, blocks_cached, lengths_of_blocks
from factory.renderer.guidance import network_of


def cached(pipeline: Any, cache: Cache, *, two_passes: bool) -> AbstractContextManager[None]:
    """Return a block in which a cache is used, empty at first.

    A new one for each batch: one that failed, for lack of memory, would leave its state behind.

    Args:
        pipeline: One for which `cache_problem` is None.
        cache: How to reuse.
        two_passes: Whether guidance takes two passes in each step.
    """
    if cache.kind == "cache-dit":
        return blocks_cached(pipeline, cache, two_passes=two_passes)
    return _cached_by_diffusers(pipeline, cache)


def cache_problem(pipeline: Any, cache: Cache) -> str | None:
    """Return why a cache cannot be used with a pipeline, or None."""
    network = type(network_of(pipeline)).__name__
    if cache.kind != "cache-dit":
        found, package = _takes_cache(pipeline), "diffusers"
    else:
        lengths = lengths_of_blocks(pipeline)
        if lengths and not (min(lengths) >= FIRST_BLOCKS < max(lengths)):
            return (
                f"cache-dit computes {FIRST_BLOCKS} blocks in every step, but {network} has "
                f"{' and '.join(map(str, lengths))}"
            )
        found, package = bool(lengths), "cache-dit"
    return None if found else f"{package} has no cache for {type(pipeline).__name__} with {network}"


@contextmanager
def _cached_by_diffusers(pipeline: Any, cache: Cache) -> Iterator[None]:
    network = network_of(pipeline)
    network.enable_cache(_config(cache, network.dtype))
    try:
        yield
    finally:
        network.disable_cache()


def _takes_cache(pipeline: Any) -> bool:
    """Return whether a pipeline's network can be cached, and the pipeline names its calls to it."""
    call = inspect.unwrap(type(pipeline).__call__)
    return hasattr(network_of(pipeline), "enable_cache") and "cache_context" in (
        call.__code__.co_names
    )


def _config(cache: Cache, dtype: Any) -> Any:
    from diffusers import FirstBlockCacheConfig, TaylorSeerCacheConfig

    if cache.kind == "first-block":
        return FirstBlockCacheConfig(threshold=cache.value)
    return TaylorSeerCacheConfig(
        cache_interval=int(cache.value),
        disable_cache_before_step=cache.warm_up,
        taylor_factors_dtype=dtype,
    )
