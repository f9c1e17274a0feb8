"""Reuse the blocks of a transformer between steps, with the package cache-dit.

Its DBCache computes the first blocks of every step. If what they add has changed little since the
last computed step, what the other blocks added then is reused.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache as only_once
from importlib.util import find_spec
from typing import Any

from factory.common.errors import UserError
from factory.models.inference import Cache
from factory.renderer.guidance import network_of

FIRST_BLOCKS = 8
"""Blocks of a list that are computed in every step: cache-dit's default, as the warm-up is."""


def require_package() -> None:
    """Refuse a cache of cache-dit where the package is missing.

    Raises:
        UserError: With the command that installs it.
    """
    if find_spec("cache_dit") is None:
        raise UserError(
            "--cache cache-dit needs cache-dit; install it: pip install 'data-factory[cache-dit]'"
        )


def lengths_of_blocks(pipeline: Any) -> Sequence[int]:
    """Return the number of blocks in each list that cache-dit caches; none if it has no cache."""
    register = _cache_dit().BlockAdapterRegister
    try:
        adapter = register.get_adapter(pipeline, skip_post_init=True)
    except AssertionError:
        # Pipelines are known by the beginning of their name; this one has another network.
        return ()
    if adapter is None:
        return ()
    lists = adapter.blocks if isinstance(adapter.blocks, list) else [adapter.blocks]
    return [len(one) for one in lists]


@contextmanager
def blocks_cached(pipeline: Any, cache: Cache, *, two_passes: bool) -> Iterator[None]:
    """Use DBCache inside the block, empty at first.

    Args:
        pipeline: One with `lengths_of_blocks`; it is called once in the block.
        cache: Of the kind `cache-dit`.
        two_passes: Whether guidance takes two passes in each step. cache-dit knows for which
            pipelines these are separate calls, but not whether a call is guided.
    """
    cache_dit = _cache_dit()
    config = cache_dit.DBCacheConfig(
        Fn_compute_blocks=FIRST_BLOCKS,
        Bn_compute_blocks=0,
        residual_diff_threshold=cache.value,
        max_warmup_steps=cache.warm_up,
        enable_separate_cfg=None if two_passes else False,
    )
    try:
        with _restored(network_of(pipeline)):
            cache_dit.enable_cache(pipeline, cache_config=config)
            _decide_alone(pipeline._context_manager)
            yield
    finally:
        # After the network is restored: it cannot remove itself from one with hooks of an offload.
        # The class of the pipeline, which it changes for all pipelines, is left to it.
        cache_dit.disable_cache(pipeline)


@contextmanager
def _restored(network: Any) -> Iterator[None]:
    """Restore the attributes and the order of the parts of a network after the block.

    cache-dit leaves its own forward pass in some networks, and removes hooks of an offload.
    """
    places = [one for part in network.modules() for one in (vars(part), part._modules)]
    before = [(place, dict(place)) for place in places]
    try:
        yield
    finally:
        for place, content in before:
            place.clear()
            place.update(content)


def _decide_alone(manager: Any) -> None:
    """Keep a process from averaging changes over all processes, which have other images.

    cache-dit expects several processes to share one image, and would wait for all of them.
    """
    decide = manager.can_cache
    manager.can_cache = lambda *args, **given: decide(*args, **given | {"parallelized": False})


@only_once
def _cache_dit() -> Any:
    # It prints to stdout what it does, for each batch.
    os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "error")
    import cache_dit

    return cache_dit
