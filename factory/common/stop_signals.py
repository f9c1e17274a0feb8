"""Handle Ctrl-C and termination: written files stay complete."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = {int(signal.SIGINT): "Ctrl-C (SIGINT)"}


class Stopped(KeyboardInterrupt):
    """Raised when this process was asked to end.

    Attributes:
        number: The signal.
        remedy: How to continue, for the message. Other interrupts have none, because such commands
            resume nothing.
    """

    def __init__(
        self, number: int, *, remedy: str = "run the same command again to resume"
    ) -> None:
        self.number, self.remedy = number, remedy
        super().__init__(f"stopped by {_NAMES.get(number) or signal.Signals(number).name}")


class _Stop:
    """Raises `Stopped` for the first signal and ignores later ones."""

    def __init__(self) -> None:
        self.raised: Stopped | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.raised is None:
            self.raised = Stopped(number)
            raise self.raised

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Raise `Stopped` again if a library replaces it in this block by an error of its own.

        Pydantic does so while a model is defined, i.e. while modules are imported.
        """
        before = self.raised
        try:
            yield
        except Exception as error:
            stop = self.raised
            if stop is None or stop is before:
                raise
            # An error of the cleanup after a stop is shown, unless it stands for the stop.
            if stop in _handled(error) and error.__cause__ is not stop:
                raise
            raise stop from error


def _handled(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions that were being handled when this one was raised."""
    while error.__context__ is not None:
        error = error.__context__
        yield error


@contextmanager
def stopping_on_signals(*, for_good: bool = False) -> Iterator[None]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into `Stopped` and ignore later ones.

    SIGHUP (a closed terminal) stays ignored where `nohup` has said so.

    A terminal and a launcher send one each for the same Ctrl-C: the second must not interrupt the
    cleanup after the first. Outside the main thread this has no effect, and another such
    block keeps its handlers.

    Args:
        for_good: Keep the handlers after the block, for a process that ends with it. Otherwise they
            are restored, e.g. in a notebook that calls `build`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    present = signal.getsignal(signal.SIGINT)
    if isinstance(present, _Stop):
        with present.kept():
            yield
        return
    stop = _Stop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    closed = getattr(signal, "SIGHUP", None)
    if closed is not None and signal.getsignal(closed) != signal.SIG_IGN:
        numbers.append(closed)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        with stop.kept():
            yield
    finally:
        if not for_good:
            for number, handler in before.items():
                signal.signal(number, handler)
