"""Report a lack of device memory in one line, with a batch size that fits.

The batch size affects the bytes of images, so it is never lowered automatically.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from factory.common.devices import is_lack_of_memory, memory_words
from factory.common.errors import Failure

if TYPE_CHECKING:
    from factory.planner.plan import ImageSpec
    from factory.renderer.diffusers_renderer import Renderer


@contextmanager
def suggesting_batch_size(
    rows: Sequence[ImageSpec], *, renderer: Renderer, batch_size: int
) -> Iterator[None]:
    """Turn a lack of memory into a failure that suggests a batch size.

    Raises:
        Failure: There was not enough memory.
    """
    try:
        yield
        return
    except (RuntimeError, MemoryError) as error:
        if not is_lack_of_memory(error):
            raise
        reason = memory_words(error)
    # Outside the handler: the traceback would keep the failed batch's tensors alive.
    fitting = _fitting(rows, renderer=renderer, below=batch_size)
    if fitting is None:
        raise Failure(
            f"out of memory with batch size {batch_size} and also with 1: free memory on the "
            f"device, use a larger device, or --dtype bfloat16 ({reason})"
        )
    raise Failure(
        f"out of memory with batch size {batch_size}; {fitting} fits: build with --batch-size "
        f"{fitting} (the batch size of a dataset with shards is fixed: free memory, use a larger "
        f"device, or build into another directory) ({reason})"
    )


@contextmanager
def reporting_large_model(model: str) -> Iterator[None]:
    """Turn a lack of memory during model loading into a failure with a remedy.

    Raises:
        Failure: There was not enough memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_lack_of_memory(error):
            raise
        raise Failure(
            f"model {model}: its weights do not fit into the device's memory; free memory, use a "
            f"larger device, --dtype bfloat16, or a smaller model ({memory_words(error)})"
        ) from None


def _fitting(rows: Sequence[ImageSpec], *, renderer: Renderer, below: int) -> int | None:
    """Return the largest half, quarter, ... of a batch size that can be generated."""
    size = below // 2
    while size:
        free_device()
        try:
            renderer.render(rows[:size], batch_size=size)
        except (RuntimeError, MemoryError) as error:
            if not is_lack_of_memory(error):
                raise
        else:
            return size
        size //= 2
    return None


def free_device() -> None:
    """Free memory that no tensor uses any more."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()
