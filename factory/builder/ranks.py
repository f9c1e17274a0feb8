"""The processes of one build, and what they tell each other.

accelerate starts them; the store of their process group is all they share. It counts atomically, so
ranks take work without waiting for each other. A rank that fails says so there, and the others stop
instead of waiting for ever.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

from factory.common.devices import joining_processes, launched_on_cpus, on_cpus
from factory.common.errors import Failure, UserError

_POLL_S = 0.05
# All that ranks wait for in torch itself is each other, at the start. A restarted rank that was
# given a dead peer's old address fails after this, and its launcher tries again.
_MEETING = timedelta(minutes=10)
_FAILED = "failed"
Answer = TypeVar("Answer")


def own_device(wanted: str = "auto") -> Any:
    """Return this process's device, as accelerate deals them out.

    Args:
        wanted: `auto`, or a device type; `cpu` keeps off the GPUs.

    Raises:
        UserError: there is no such device here, or the launch's variables fit no launch.
    """
    from accelerate import PartialState

    with joining_processes():
        state = PartialState(cpu=wanted == "cpu" or on_cpus(), timeout=_MEETING)
    if wanted not in ("auto", state.device.type):
        raise UserError(f"device {wanted} was asked for, {_offer(state.device.type)}")
    return state.device


def _offer(kind: str) -> str:
    if kind == "cpu" and launched_on_cpus():
        return "the launch is on CPUs (accelerate launch --cpu)"
    return f"this machine offers {kind}"


def world(device: str = "auto") -> tuple[int, int, str]:
    """Return this process's rank, the number of processes, and the type of its device."""
    from accelerate import PartialState

    kind = own_device(device).type
    state = PartialState()
    return state.process_index, state.num_processes, kind


def leave() -> None:
    """Leave the process group, if there is one; the last thing a process does."""
    from accelerate import PartialState

    PartialState().destroy_process_group()


class Ranks:
    """This process among its peers; alone, the same calls work on a store of its own."""

    def __init__(self, *, device: str = "auto") -> None:
        """Join the group accelerate's launcher has made, if any.

        Args:
            device: `auto`, or a device type; `cpu` keeps accelerate off the GPUs.
        """
        import torch.distributed
        from accelerate import PartialState

        # Its stores carry no types.
        dist: Any = torch.distributed
        self.device = own_device(device)
        state = PartialState()
        self.rank: int = state.process_index
        self.world_size: int = state.num_processes
        shared = dist.is_available() and dist.is_initialized()
        store = dist.distributed_c10d._get_default_store() if shared else dist.HashStore()
        # A name of its own keeps a build apart from the one before it in the same processes, and
        # from the rounds before a restart: torchrun keeps one store for all of them.
        self.launch = _agree(secrets.token_hex(4))
        self._store: Any = dist.PrefixStore(f"factory/{self.launch}", store)

    @property
    def is_lead(self) -> bool:
        """Whether this rank prepares and finishes the set."""
        return self.rank == 0

    def take(self, name: str) -> int:
        """Return the next number of a counter, from 0; no two ranks get the same."""
        return self.add(name, 1) - 1

    def add(self, name: str, count: int) -> int:
        """Add to a counter that all ranks share and return its new value."""
        return int(self._ask(lambda: self._store.add(name, count)))

    def announce(self, event: str, text: str = "") -> None:
        """Tell all ranks that something is done, with what they need to know of it."""
        self._ask(lambda: self._store.set(event, f"{text} "))

    def is_announced(self, event: str) -> bool:
        """Whether any rank has announced an event."""
        return self.are_announced([event])

    def are_announced(self, events: list[str]) -> bool:
        """Whether all of some events were announced, by any rank."""
        return bool(self._ask(lambda: self._store.check(events)))

    def announced(self, event: str) -> str:
        """Return the text of an event that was announced."""
        return str(self._ask(lambda: self._store.get(event)).decode()[:-1])

    def wait_for(self, event: str) -> str:
        """Wait until `event` is announced and return the text that came with it.

        Raises:
            Failure: another rank failed meanwhile.
        """
        self.wait_until(lambda: self.is_announced(event))
        return self.announced(event)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is asked a few times a second.

        Raises:
            Failure: another rank failed meanwhile.
        """
        while not condition():
            self.pause(_POLL_S)

    def pause(self, seconds: float) -> None:
        """Wait a little for others.

        Raises:
            Failure: another rank failed.
        """
        self.stop_if_another_failed()
        time.sleep(seconds)

    def stop_if_another_failed(self) -> None:
        """Raise if any rank has failed.

        Raises:
            Failure: with the other rank's own words.
        """
        if self.is_announced(_FAILED):
            raise Failure(f"stopped, since {self.announced(_FAILED)}")

    @contextmanager
    def telling_failure(self) -> Iterator[None]:
        """Let the other ranks know when this one leaves with an error."""
        try:
            yield
        except BaseException as error:
            words = str(error).splitlines()
            reason = words[0] if words else type(error).__name__
            # The store may be what failed.
            with suppress(Failure):
                if not self.is_announced(_FAILED):
                    self.announce(_FAILED, f"rank {self.rank} failed: {reason}")
            raise

    def leave_together(self) -> None:
        """Return once every rank has come here.

        The lead goes last, since the store may live in its process.
        """
        self.add("leaving", 1)
        if self.is_lead:
            self.wait_until(lambda: self.add("leaving", 0) >= self.world_size)

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        """Ask the store, which lives in another process.

        Raises:
            Failure: that process is gone.
        """
        import torch.distributed

        try:
            return question()
        except torch.distributed.DistError as error:
            words = (str(error).splitlines() or [type(error).__name__])[0]
            raise Failure(
                f"rank {self.rank}: the process that coordinates the others is gone ({words}); "
                "run the same command again to go on where it stopped"
            ) from None


def _agree(text: str) -> str:
    """Return the first rank's text on all ranks."""
    from accelerate.utils import broadcast_object_list

    texts = [text]
    broadcast_object_list(texts, from_process=0)
    return texts[0]
