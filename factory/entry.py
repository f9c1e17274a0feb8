"""What the three `__main__` modules share: errors become text and an exit status."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable

from factory.errors import FactoryError

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
        sys.stderr.write(f"{error}\n")
        status = error.exit_status
    except BrokenPipeError:
        # The reader went away (`| head`): let the interpreter's last flush go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        place = f"{error.filename}: " if error.filename else ""
        remedy = _DISK_ERRORS[error.errno]
        sys.stderr.write(
            f"{place}{remedy}, then run the same command again: it goes on where it stopped\n"
        )
        status = 1
    except KeyboardInterrupt as stop:
        words = str(stop) or "interrupted"
        sys.stderr.write(f"{words}; run the same command again to go on where it stopped\n")
        # As a shell says it of a process that a signal has ended.
        status = 128 + getattr(stop, "number", signal.SIGINT)
    sys.exit(status)
