"""What the three `__main__` modules share: errors become text and an exit status.

Only here do errors become text, so only here must tokens be kept out of it (`factory.redaction`).
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable

from factory.console import close_bars
from factory.errors import FactoryError
from factory.redaction import for_terminal

_MOST_SHOWN = 200
_DISK_ERRORS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the file system is read-only; choose another directory",
    errno.EACCES: "permission denied; choose a directory you may write to",
    errno.ENOTDIR: "a part of this path is a file; choose another directory",
    errno.ENAMETOOLONG: "the name is too long; choose another directory",
    errno.EPERM: "operation not permitted; choose a directory you may write to",
}


def run_main(main: Callable[[], int | None]) -> None:
    """Run `main` and exit: 0 done, 1 a failure, 2 for the user to mend, 128 + a signal."""
    try:
        status = main() or 0
        sys.stdout.flush()
    except FactoryError as error:
        _tell(str(error))
        status = error.exit_status
    except BrokenPipeError:
        # The reader went away (`| head`): let the interpreter's last flush go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            _tell(traceback.format_exc().rstrip())
            sys.exit(1)
        place = f"{_short(str(error.filename))}: " if error.filename else ""
        remedy = _DISK_ERRORS[error.errno]
        _tell(f"{place}{remedy}, then run the same command again: it goes on where it stopped")
        status = 1
    except KeyboardInterrupt as stop:
        words = str(stop) or "interrupted"
        _tell(f"{words}; run the same command again to go on where it stopped")
        # As a shell says it of a process that a signal has ended.
        status = 128 + getattr(stop, "number", signal.SIGINT)
    except Exception:  # noqa: BLE001 (a bug: it keeps its traceback, but no token in it)
        _tell(traceback.format_exc().rstrip())
        status = 1
    sys.exit(status)


def _short(name: str) -> str:
    return name if len(name) <= _MOST_SHOWN else f"{name[: _MOST_SHOWN - 3]}..."


def _tell(text: str) -> None:
    close_bars()
    sys.stderr.write(f"{for_terminal(text)}\n")
