"""Find a batch size that fits, by generating batches of growing size."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.devices import is_lack_of_memory
from factory.common.errors import Failure
from factory.common.resources import free_memory
from factory.renderer.out_of_memory import free_device

if TYPE_CHECKING:
    from factory.planner.plan import ImageSpec
    from factory.renderer.diffusers_renderer import Renderer

LARGEST = 512
# A batch that takes so little is repeated, since the first one of a size includes preparations.
_SHORT_S = 1.0
# Of the best speed that a smaller batch must reach to be recommended.
_NEARLY = 0.95


@dataclass(frozen=True)
class BatchSpeed:
    """A batch that was generated: its size, and the measured images per second."""

    batch_size: int
    images_per_s: float


@dataclass(frozen=True)
class Tried:
    """Batches that were generated.

    Attributes:
        batches: Those that fit, by size.
        stopped: Why no larger one was tried.
    """

    batches: tuple[BatchSpeed, ...]
    stopped: str

    @property
    def best(self) -> BatchSpeed:
        """The smallest batch that is nearly as fast as the fastest one."""
        fastest = max(one.images_per_s for one in self.batches)
        return next(one for one in self.batches if one.images_per_s >= _NEARLY * fastest)


def try_sizes(
    renderer: Renderer,
    rows: Callable[[int], Sequence[ImageSpec]],
    *,
    name: str,
    seconds: float,
    sharing: int | None,
    largest: int = LARGEST,
) -> Tried:
    """Generate batches of 1, 2, 4, ... images until memory or time is used up.

    Args:
        renderer: Generates them.
        rows: Returns so many rows of a plan.
        name: The model, for messages.
        seconds: Time for generating.
        sharing: Processes that share the memory of this machine; None if the device has its own.
        largest: Images of the largest batch.

    Raises:
        Failure: Not even one image fits into memory.
    """
    tried: list[BatchSpeed] = []
    _forget_peak_memory()
    size, started, before = 1, time.perf_counter(), _peak_memory()
    while size <= largest:
        try:
            taken = _seconds(renderer, rows(size))
        except (RuntimeError, MemoryError) as error:
            if not is_lack_of_memory(error):
                raise
            if not tried:
                raise Failure(
                    f"{name}: not even one image fits into memory; free memory, or use a smaller "
                    "model"
                ) from None
            free_device()
            return Tried(tuple(tried), f"{size} images do not fit into memory")
        tried.append(BatchSpeed(size, size / taken))
        size *= 2
        if time.perf_counter() - started + 2 * taken > seconds:
            return Tried(tuple(tried), f"the time of {seconds:g} s was used up")
        grown, available = _peak_memory() - before, free_memory()
        if sharing and available is not None:
            # The others will load the model too.
            share = (available - (sharing - 1) * before) / sharing
            # Linux would end this process; so larger batches are not tried.
            if 2 * grown > share:
                return Tried(tuple(tried), f"{size} images may not fit into memory")
    return Tried(tuple(tried), f"larger batches than {largest} are not tried")


def _seconds(renderer: Renderer, rows: Sequence[ImageSpec]) -> float:
    """Return the time of generating one batch, the faster of two if they are short."""
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        renderer.render(rows, batch_size=len(rows))
        taken.append(time.perf_counter() - started)
        if taken[-1] > _SHORT_S:
            break
    return min(taken)


def _forget_peak_memory() -> None:
    """Let the peak begin with the memory in use, on Linux; elsewhere it began with the process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> int:
    """Return the largest memory that this process has used, in bytes."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return 1024 * int(found[1])
    import resource

    # Linux counts in kilobytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
