"""Run the end of a shard in a thread, so that the next shard is generated meanwhile.

At most one end is pending in the thread: its rows are in memory together with those of the next
shard. The thread that generates hands a shard over and gets its errors; each shard is ended by one
thread alone.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from factory.shards.manifest import ShardEntry

Ending = Future["ShardEntry | None"]
"""The end of a shard: its manifest entry, or None if another launch has taken its name. Who cancels
it before it runs has the rows again."""


class Behind:
    """Runs the ends of shards, one at a time."""

    def __init__(self) -> None:
        self._last: Ending | None = None
        self._thread: Thread | None = None

    def start(self, ending: Ending, work: Callable[[], ShardEntry | None]) -> None:
        """Run `work` in a thread when the previous end is finished, whose error is raised here."""
        if self._last is not None:
            self._last.result()
        self._last = ending
        self._thread = Thread(target=_run, args=(ending, work), name="end of a shard")
        self._thread.start()

    def check(self) -> None:
        """Raise the error of an end that has failed."""
        if self._last is not None and self._last.done():
            self._last.result()

    def close(self) -> None:
        """Return when no end runs or can begin; errors are not raised."""
        if self._last is None or self._thread is None:
            return
        if self._thread.ident is None:
            # A signal came before the thread has begun: now it runs nothing.
            self._last.cancel()
            return
        try:
            self._thread.join()
        except BaseException:
            # A signal; one that comes soon after is ignored.
            self._thread.join()
            raise


def _run(ending: Ending, work: Callable[[], ShardEntry | None]) -> None:
    if not ending.set_running_or_notify_cancel():
        return
    try:
        ending.set_result(work())
    except BaseException as error:  # noqa: BLE001 - raised where the thread started it
        ending.set_exception(error)
