"""Measure on the device how long neither network nor decoder runs between two batches."""

from __future__ import annotations

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
            self._ends.append(self._mark())
            return found

        self._pipeline.vae.decode = marked
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()
        del self._pipeline.vae.decode

    def share(self) -> float:
        """Return the gaps' share of the time from the first pass to the end of the last batch."""
        if self._device == "cuda":
            torch.cuda.synchronize()
        pairs = zip(self._ends, self._starts[1:], strict=False)
        gaps = sum(self._between(one, two) for one, two in pairs)
        return gaps / self._between(self._starts[0], self._ends[-1])

    def _on_pass(self, *_: Any) -> None:
        if self._calls == 0:
            self.began = time.perf_counter()
        if self._calls % self._passes == 0:
            self._starts.append(self._mark())
        self._calls += 1

    def _mark(self) -> Any:
        if self._device != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, one: Any, two: Any) -> float:
        """Return the seconds between two marks."""
        if self._device != "cuda":
            return float(two - one)
        return float(one.elapsed_time(two)) / 1e3
