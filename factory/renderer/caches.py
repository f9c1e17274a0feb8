"""Reuse parts of a transformer between steps, with the caches that diffusers ships.

The pipelines clear a cache at the end of every call, so no batch sees that of another one.
"""

import inspect
from typing import Any

from factory.models.inference import Cache
from factory.renderer.guidance import network_of


def enable_cache(pipeline: Any, cache: Cache) -> None:
    """Switch a cache on; copies of a pipeline share their network, so once is enough."""
    network = network_of(pipeline)
    if not network.is_cache_enabled:
        network.enable_cache(_config(cache, network.dtype))


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
