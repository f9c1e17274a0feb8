"""Let a training that is asked to stop finish its step and write a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from factory.common.stop_signals import Stopped

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Records the first SIGINT (Ctrl-C) or SIGTERM; a second one stops at once.

    Attributes:
        asked: The signal that asked this process to stop, or None.
    """

    def __init__(self, *, active: bool) -> None:
        """Without `active`, and outside the main thread, signals keep their handlers."""
        self.asked: int | None = None
        self._active = active and threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}

    def check(self) -> None:
        """Stop if this process was asked to.

        Raises:
            Stopped: It was.
        """
        if self.asked is not None:
            raise Stopped(self.asked)

    def __enter__(self) -> Stopping:
        if self._active:
            self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            raise Stopped(number)
        self.asked = number
