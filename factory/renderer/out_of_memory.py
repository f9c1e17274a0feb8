"""Out of memory on the device: told in one line, with a batch size that was seen to fit.

The batch size decides bytes, so it is never lowered behind the user's back.
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
def telling_batch_size(
    rows: Sequence[ImageSpec], *, renderer: Renderer, batch_size: int
) -> Iterator[None]:
    """Turn a lack of memory into a failure that names the batch size to use.

    Args:
        rows: What was being drawn.
        renderer: Draws them; tried with smaller batches after a failure, to name one that fits.
        batch_size: The set's.

    Raises:
        Failure: the memory did not suffice.
    """
    try:
        yield
        return
    except (RuntimeError, MemoryError) as error:
        if not is_lack_of_memory(error):
            raise
        reason = memory_words(error)
    # Outside of the handler: the traceback would keep the failed batch's tensors alive.
    fitting = _fitting(rows, renderer=renderer, below=batch_size)
    if fitting is None:
        raise Failure(
            f"out of memory with batch size {batch_size}, and with 1: free memory on the device, "
            f"use a larger one, or --dtype bfloat16 ({reason})"
        )
    raise Failure(
        f"out of memory with batch size {batch_size}; {fitting} fits: build with --batch-size "
        f"{fitting} (a set that has shards keeps its batch size: then free memory, use a larger "
        f"device, or build into another directory) ({reason})"
    )


@contextmanager
def telling_that_it_is_too_large(model: str) -> Iterator[None]:
    """Turn a lack of memory while a model is loaded into a failure that says so.

    Args:
        model: Its id.

    Raises:
        Failure: the memory did not suffice.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_lack_of_memory(error):
            raise
        raise Failure(
            f"model {model}: the device's memory does not hold its weights; free memory, use a "
            f"larger device, --dtype bfloat16, or a smaller model ({memory_words(error)})"
        ) from None


def _fitting(rows: Sequence[ImageSpec], *, renderer: Renderer, below: int) -> int | None:
    """Return the largest half, quarter, ... of a batch size that can be drawn."""
    size = below // 2
    while size:
        _free()
        try:
            renderer.render(rows[:size], batch_size=size)
        except (RuntimeError, MemoryError) as error:
            if not is_lack_of_memory(error):
                raise
        else:
            return size
        size //= 2
    return None


def _free() -> None:
    import torch

    gc.collect()
    torch.cuda.empty_cache()
