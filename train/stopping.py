"""Let a training that is asked to stop finish its step and write a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import torch

from factory.common.stop_signals import Stopped

if TYPE_CHECKING:
    from accelerate import Accelerator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Records the first SIGINT (Ctrl-C) or SIGTERM; a second one stops at once.

    Attributes:
        asked: The signal that asked the processes to stop, as they last agreed, or None.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        """Outside the main thread, signals keep their handlers."""
        self.asked: int | None = None
        self._mine: int | None = None
        self._accelerator = accelerator
        self._active = threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}

    def agree(self, *, due: bool = True) -> None:
        """Ask all processes to stop if one was asked; all of them must call this alike.

        Several processes wait for each other here, so they do it only when it is `due`.
        """
        if self._accelerator.num_processes == 1:
            self.asked = self._mine
        elif due:
            mine = torch.tensor([self._mine or 0], device=self._accelerator.device)
            self.asked = int(self._accelerator.gather(mine).max()) or None

    def check(self) -> None:
        """Stop if the processes were asked to.

        Raises:
            Stopped: They were.
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
        if self._mine is not None:
            raise Stopped(number)
        self._mine = number
