"""CPU time by phase: a few named functions are wrapped with a clock of their thread.

Unlike cProfile, this adds nothing to the functions that they call, and counts all threads.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import wraps
from importlib import import_module
from typing import Any

from .timing import Figure, compared

Phases = Mapping[str, Sequence[str]]
"""Functions of each phase, as `module:name` or `module:Class.name` of the place that calls them.

Generators cannot be measured: calling them runs nothing.
"""
REST = "everything else"


def profiled(
    run: Callable[[], object], phases: Phases, *, clock: Callable[[], float] = time.thread_time
) -> dict[str, float]:
    """Run a function; return the CPU seconds of each phase, without those of phases it calls.

    Args:
        run: The function, called once. Start-up counts, so let it run before.
        phases: Functions by phase.
        clock: Seconds of the calling thread.

    Returns:
        Seconds by phase, in order; `REST` is what the whole process used besides.
    """
    found = _Clock(clock, phases)
    with ExitStack() as patches:
        for phase, names in phases.items():
            for name in names:
                patches.enter_context(_replaced(name, phase, found))
        started = time.process_time()
        run()
        total = time.process_time() - started
    return found.seconds | {REST: total - sum(found.seconds.values())}


def marginal(
    run: Callable[[int], object], phases: Phases, *, few: int, many: int
) -> dict[str, float]:
    """Return the further CPU µs per further item by phase, as `profiled`.

    Args:
        run: Works on a number of items.
        phases: Functions by phase.
        few: The smaller number of items.
        many: The larger one.
    """
    run(few)
    first, second = (profiled(lambda count=count: run(count), phases) for count in (few, many))
    return {phase: 1e6 * (second[phase] - first[phase]) / (many - few) for phase in second}


def figures(what: str, unit: str, found: Sequence[Mapping[str, float]]) -> list[Figure]:
    """Return a figure for each phase of several profiles."""
    return [compared(f"{what}: {name}", unit, [one[name] for one in found]) for name in found[0]]


class _Clock:
    """Adds up seconds by phase. A phase stops while a function of another one runs in its thread.

    Attributes:
        seconds: Sum of all threads by phase.
    """

    def __init__(self, now: Callable[[], float], phases: Iterable[str]) -> None:
        self.seconds = dict.fromkeys(phases, 0.0)
        self._now, self._adding, self._threads = now, threading.Lock(), threading.local()

    def wrapped(self, function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        """Return a function whose calls count for a phase."""
        now, threads = self._now, self._threads

        @wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            outer = getattr(threads, "inner", 0.0)
            threads.inner, started = 0.0, now()
            try:
                return function(*args, **kwargs)
            finally:
                taken = now() - started
                with self._adding:
                    self.seconds[phase] += taken - threads.inner
                threads.inner = outer + taken

        return measured


def _replaced(name: str, phase: str, clock: _Clock) -> AbstractContextManager[Any]:
    # It imports asyncio, which would count for processes that measure their start.
    from unittest.mock import patch

    module, _, path = name.partition(":")
    *owners, attribute = path.split(".")
    owner: Any = import_module(module)
    for one in owners:
        owner = getattr(owner, one)
    kept = inspect.getattr_static(owner, attribute)
    found = clock.wrapped(getattr(owner, attribute), phase)
    # A method of the class is bound already.
    return patch.object(
        owner, attribute, staticmethod(found) if isinstance(kept, classmethod) else found
    )
