"""The processes of one build and their communication.

accelerate starts them; they share only the store of their process group. Its counters are atomic,
so ranks take work without waiting for each other. A rank that fails announces it there, and the
others stop instead of waiting forever.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from factory.builder.stores import GroupStore, OwnStore, Store
from factory.common.devices import sole_device, this_process
from factory.common.errors import Failure, PeerFailure
from factory.common.launch_environment import in_launch

if TYPE_CHECKING:
    import torch

_POLL_S = 0.05
# Ranks wait for each other in torch only at the start. A restarted rank that was given the old
# address of a dead peer fails after this, and its launcher tries again.
_MEETING = timedelta(minutes=10)
_FAILED = "failed"
_MOST_BYTES = 1 << 20
"""Of one value: PyTorch's store closes the connection of a process that sends 8 MiB at once."""


def own_device(wanted: str = "auto") -> torch.device:
    """Return this process's device, as assigned by a launcher, if there is one.

    Args:
        wanted: `auto`, or a device type; `cpu` avoids the GPUs.

    Raises:
        UserError: There is no such device, or the launch's variables are contradictory.
    """
    if not in_launch():
        return sole_device(wanted)
    device: torch.device = this_process(wanted, timeout=_MEETING).device
    return device


def own_rank(device: str = "auto") -> int:
    """Return this process's rank in its launch; see `own_device` for `device`."""
    return int(this_process(device, timeout=_MEETING).process_index) if in_launch() else 0


def leave() -> None:
    """Leave the process group, if there is one; called last by each process."""
    if in_launch():
        from accelerate import PartialState

        PartialState().destroy_process_group()


class Ranks:
    """This process among its peers; a single process uses its own store."""

    def __init__(self, *, device: str = "auto") -> None:
        """Join the group created by a launcher, if any."""
        self.rank, self.world_size = 0, 1
        self.launch = secrets.token_hex(4)
        self._store: Store = OwnStore()
        if in_launch():
            state = this_process(device, timeout=_MEETING)
            self.rank, self.world_size = state.process_index, state.num_processes
            self.launch = _agree(self.launch)
            self._store = GroupStore(self.rank, f"factory/{self.launch}")
        # A build on CPUs that generates nothing needs no torch.
        self.device = device if device == "cpu" else str(own_device(device))

    @property
    def is_lead(self) -> bool:
        """Whether this rank prepares and finishes the dataset."""
        return self.rank == 0

    def take(self, name: str) -> int:
        """Return the next number of a counter, from 0; unique across ranks."""
        return self.add(name, 1) - 1

    def add(self, name: str, count: int) -> int:
        """Add to a counter shared by all ranks and return its new value."""
        return self._store.add(name, count)

    def announce(self, event: str, text: str = "") -> None:
        """Announce an event to all ranks, with a text for them."""
        first, *rest = _parts(text.encode())
        for number, part in enumerate(rest, 1):
            self._store.set(f"{event}/part-{number}", part)
        # Last, because the others wait for it. It reports the number of further parts.
        self._store.set(event, b"%d " % len(rest) + first)

    def is_announced(self, event: str) -> bool:
        """Return whether any rank has announced an event."""
        return self.are_announced([event])

    def are_announced(self, events: list[str]) -> bool:
        """Return whether all of some events were announced, by any rank."""
        return self._store.check(events)

    def announced(self, event: str) -> str:
        """Return the text of an announced event."""
        count, _, first = self._store.get(event).partition(b" ")
        rest = [self._store.get(f"{event}/part-{number}") for number in range(1, int(count) + 1)]
        return b"".join((first, *rest)).decode()

    def wait_for(self, event: str) -> str:
        """Wait until `event` is announced and return its text.

        Raises:
            Failure: Another rank failed in the meantime.
        """
        self.wait_until(lambda: self.is_announced(event))
        return self.announced(event)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` is true; it is checked a few times per second.

        Raises:
            Failure: Another rank failed in the meantime.
        """
        while not condition():
            self.pause(_POLL_S)

    def pause(self, seconds: float) -> None:
        """Wait a short time for others.

        Raises:
            Failure: Another rank failed.
        """
        self.stop_if_another_failed()
        time.sleep(seconds)

    def stop_if_another_failed(self) -> None:
        """Raise if any rank has failed.

        Raises:
            PeerFailure: With the other rank's message.
        """
        if self.is_announced(_FAILED):
            raise PeerFailure(f"stopped because {self.announced(_FAILED)}")

    @contextmanager
    def announcing_failure(self) -> Iterator[None]:
        """Announce to the other ranks if this one leaves with an error."""
        try:
            yield
        except BaseException as error:
            words = str(error).splitlines()
            reason = words[0] if words else type(error).__name__
            # The store itself may have failed.
            with suppress(Failure):
                if not self.is_announced(_FAILED):
                    self.announce(_FAILED, f"rank {self.rank} failed: {reason}")
            raise

    def leave_together(self) -> None:
        """Return when every rank has called this.

        The main process leaves last, because it may host the store.
        """
        self.add("leaving", 1)
        if self.is_lead:
            self.wait_until(lambda: self.add("leaving", 0) >= self.world_size)


def _parts(data: bytes) -> list[bytes]:
    """Cut a value into parts that a store takes; at least one, which may be empty."""
    return [data[at : at + _MOST_BYTES] for at in range(0, max(len(data), 1), _MOST_BYTES)]


def _agree(text: str) -> str:
    """Return the first rank's text on all ranks."""
    from accelerate.utils import broadcast_object_list

    texts = [text]
    broadcast_object_list(texts, from_process=0)
    return texts[0]
