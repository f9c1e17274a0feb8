"""Measure on the device how long no network runs between two batches."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch


class Gaps:
    """Marks the first pass and the end of the decoding of every batch.

    On a GPU, the marks are events in its stream: they show when the device came there, not when
    the call was made. What runs between the marks counts as a gap: noise, resizing, copies.

    Attributes:
        began: Time of the first pass.
    """

    def __init__(self, pipeline: Any, passes: int, device: str) -> None:
        """Store what is measured; `passes` is the number of passes of the network per batch."""
        self._pipeline, self._passes, self._device = pipeline, passes, device
        self._starts: list[Any] = []
        self._ends: list[Any] = []
        self._calls = 0
        self.began = 0.0

    def __enter__(self) -> Gaps:
        from factory.renderer.guidance import network_of

        self._handle = network_of(self._pipeline).register_forward_pre_hook(self._on_pass)
        decode = self._pipeline.vae.decode

        def marked(*args: Any, **kwargs: Any) -> Any:
            found = decode(*args, **kwargs)
            self._ends.append(mark(self._device))
            return found

        self._pipeline.vae.decode = marked
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()
        del self._pipeline.vae.decode

    def share(self) -> float:
        """Return the gaps' share of the time from the first pass to the end of the last batch."""
        wait_for(self._device)
        pairs = zip(self._ends, self._starts[1:], strict=False)
        gaps = sum(between(one, two) for one, two in pairs)
        return gaps / between(self._starts[0], self._ends[-1])

    def _on_pass(self, *_: Any) -> None:
        if self._calls == 0:
            self.began = time.perf_counter()
        if self._calls % self._passes == 0:
            self._starts.append(mark(self._device))
        self._calls += 1


class Steps:
    """Marks the arrival of every batch of a training on its device, and the end of its step.

    Attributes:
        device: `cpu` or `cuda`.
        steps: Steps of an epoch.
    """

    def __init__(self, device: str, steps: int) -> None:
        """Store what is measured."""
        self.device, self.steps = device, steps
        self._arrived: list[Any] = []
        self._done: list[Any] = []

    def arrived(self) -> None:
        """Mark that a batch is there."""
        self._arrived.append(mark(self.device))

    def done(self) -> None:
        """Mark that its step was sent to the device."""
        self._done.append(mark(self.device))

    def waiting(self) -> tuple[float, float]:
        """Return for how long no step was under way, without the first epoch.

        Returns:
            Share of the time within epochs; mean seconds between two epochs.
        """
        wait_for(self.device)
        pauses, within, spent = [], 0.0, 0.0
        for number in range(self.steps, len(self._arrived)):
            gap = between(self._done[number - 1], self._arrived[number])
            spent += between(self._arrived[number], self._done[number])
            if number % self.steps:
                within += gap
            else:
                pauses.append(gap)
        return within / (within + spent), statistics.mean(pauses)


def mark(device: str) -> Any:
    """Return the time, on a GPU as an event of its stream."""
    if device != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def between(one: Any, two: Any) -> float:
    """Return the seconds between two marks, whose work has ended."""
    if isinstance(one, float):
        return float(two - one)
    return float(one.elapsed_time(two)) / 1e3


def wait_for(device: str) -> None:
    """Wait until a GPU has done all that was sent to it."""
    if device == "cuda":
        torch.cuda.synchronize()
