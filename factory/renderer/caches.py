"""Reuse parts of a transformer between steps, with the caches that diffusers ships."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from factory.models.inference import Cache
from factory.renderer.guidance import network_of


@contextmanager
def cached(pipeline: Any, cache: Cache) -> Iterator[None]:
    """Use a cache inside the block, empty at first.

    A new one for each batch: one that failed, for lack of memory, would leave its state behind.
    """
    network = network_of(pipeline)
    network.enable_cache(_config(cache, network.dtype))
    try:
        yield
    finally:
        network.disable_cache()


def takes_cache(pipeline: Any) -> bool:
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
        disable_cache_before_step=Cache.WARM_UP,
        taylor_factors_dtype=dtype,
    )
