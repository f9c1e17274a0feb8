"""End on Ctrl-C without a traceback while a program still imports what it consists of.

Entry points call `end_quietly` before they import anything else; this module imports little.
"""

import os
import signal
from types import FrameType

_STATUS = 128 + signal.SIGINT


def end_quietly() -> None:
    """Let Ctrl-C end this process at once, unless the signal is ignored or handled already."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def catch_again() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again: from here on it is turned into a message."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    # An exception could be swallowed or replaced inside an import; nothing needs a cleanup yet.
    os._exit(_STATUS)
