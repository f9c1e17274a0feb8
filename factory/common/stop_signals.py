"""Handle Ctrl-C and termination: written files stay complete."""

import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

_NAMES = {int(signal.SIGINT): "Ctrl-C (SIGINT)"}
_AGAIN_S = 0.01
# Those of the same Ctrl-C come at once. A later one is for a cleanup that hangs.
_SAME_S = 10.0


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
    """Raises `Stopped` for a signal, and ignores others while it is handled, for `_SAME_S`.

    A `Stopped` that nobody handles was swallowed, so the next signal raises again. Python itself
    swallows what is raised in `__del__` or a callback of a weak reference.
    """

    def __init__(self) -> None:
        self.raised: list[Stopped] = []
        self.is_over = False
        self._ignores_until = 0.0
        self._hook = sys.unraisablehook
        self._swallowed: Stopped | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        is_handled = self.is_over or _among(self.raised, sys.exception())
        if is_handled and time.monotonic() < self._ignores_until:
            return
        self._ignores_until = time.monotonic() + _SAME_S
        self.raised.append(Stopped(number))
        raise self.raised[-1]

    def on_unraisable(self, found: "sys.UnraisableHookArgs") -> None:
        """Send the signal again if Python swallowed its `Stopped`; set as `sys.unraisablehook`."""
        stop = found.exc_value
        if not isinstance(stop, Stopped) or stop not in self.raised:
            self._hook(found)
            return
        self._swallowed = stop
        # Raised in here it would be swallowed again.
        arguments = (stop.number, threading.get_ident())
        again = threading.Timer(_AGAIN_S, self._send, arguments)
        again.daemon = True
        again.start()

    def _send(self, number: int, thread: int) -> None:
        if signal.getsignal(number) is self:
            signal.pthread_kill(thread, number)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Raise `Stopped` again if a library replaces it in this block by an error of its own.

        Pydantic does so while a model is defined, i.e. while modules are imported.
        """
        before = len(self.raised)
        try:
            yield
            if self._swallowed is not None and self._swallowed is self.raised[-1]:
                # The block has ended before the signal came again.
                raise self._swallowed
        except Exception as error:
            stops = self.raised[before:]
            if not stops:
                raise
            # An error of the cleanup after a stop is shown, unless it stands for the stop.
            if _among(stops, error) and error.__cause__ not in stops:
                raise
            raise stops[-1] from error


def _among(stops: Sequence[Stopped], error: BaseException | None) -> bool:
    """Return whether an error is one of these, or was raised while one of them was handled."""
    while error is not None and error not in stops:
        error = error.__context__
    return error is not None


@contextmanager
def stopping_on_signals(*, for_good: bool = False) -> Iterator[None]:
    """Turn SIGINT, SIGTERM or SIGHUP into `Stopped`, and ignore further ones during its cleanup.

    SIGHUP (a closed terminal) stays ignored where `nohup` has said so.

    A terminal and a launcher send one each for the same Ctrl-C: the second must not interrupt the
    cleanup after the first. One that comes 10 s later does. Outside the main thread this has no
    effect, and another such block keeps its handlers.

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
    hook, sys.unraisablehook = sys.unraisablehook, stop.on_unraisable
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        with stop.kept():
            yield
    except BaseException:
        # A program that ends with the block may still write its message.
        stop.is_over = bool(stop.raised)
        raise
    finally:
        if not for_good:
            if sys.unraisablehook == stop.on_unraisable:
                sys.unraisablehook = hook
            for number, handler in before.items():
                signal.signal(number, handler)
