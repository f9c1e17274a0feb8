"""Run the `main` of the three packages and turn errors into text and an exit status.

Only this module turns errors into text, so tokens are redacted here (`factory.common.redaction`).
"""

import errno
import io
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from factory.common.console import close_bars
from factory.common.early_stop import catch_again
from factory.common.errors import FactoryError, PeerFailure, UserError
from factory.common.imports import freeze_imports
from factory.common.process_messages import LastWords, leave
from factory.common.redaction import for_terminal
from factory.common.stop_signals import Stopped
from factory.common.text import cut

_MOST_SHOWN = 200
_DISK_ERRORS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.ENOENT: "does not exist; if no other command has removed it, restore it",
    errno.EROFS: "the file system is read-only; choose another directory",
    errno.EACCES: "permission denied; choose a directory you may write to",
    errno.ENOTDIR: "a part of this path is a file; choose another directory",
    errno.ENAMETOOLONG: "the name is too long; choose another directory",
    errno.EPERM: "operation not permitted; choose a directory you may write to",
    errno.ELOOP: "a symbolic link leads back to itself; choose another directory",
    errno.EFBIG: "a file would be larger than the file system or `ulimit -f` allows; raise the "
    "limit or choose another directory",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; close some",
    errno.EIO: "the disk fails to read or write; check it",
    errno.ESTALE: "the network file system has lost this file; mount it again",
}

_MANY_FRAMES = 100
# After stdin, stdout and stderr.
_FIRST_FREE = 3
# Exit status that shells report for a process ended by SIGPIPE.
_PIPE_CLOSED = 128 + 13


def run_main(main: Callable[[], int | None]) -> None:
    """Run `main` and exit: 0 success, 1 failure, 2 usage error, 128 + a signal number.

    A process that was started by another one of this project leaves its last message to that one,
    which prints one message for all; see `factory.common.process_messages`.
    """
    _open_streams()
    freeze_imports()
    # Pydantic searches all installed packages for plugins, for a tenth of the time of `check`.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    sys.argv[1:] = [_at_home(word) for word in sys.argv[1:]]
    last = _outcome(main)
    if last.text:
        close_bars()
        if not leave(last):
            _write(f"{for_terminal(last.text)}\n")
    # Python keeps in mind that SIGINT has interrupted code made of text, as methods of dataclasses
    # are. `python -m` would end by that signal instead of with a status; this makes it forget.
    exec("")
    sys.exit(last.status)


def _write(text: str) -> None:
    """Write to stderr; a terminal that was closed refuses it, which must not change the status."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _outcome(main: Callable[[], int | None]) -> LastWords:
    try:
        catch_again()
        _require_directory()
        status = main() or 0
        sys.stdout.flush()
    except FactoryError as error:
        return LastWords(error.exit_status, str(error), follows=isinstance(error, PeerFailure))
    except BrokenPipeError as error:
        return _after_broken_pipe(error)
    except OSError as error:
        return _after_system_error(error)
    except RecursionError as error:
        if not _is_below_folders(error):
            return LastWords(1, traceback.format_exc().rstrip())
        return LastWords(2, "a folder has endless folders inside each other; move its files up")
    except KeyboardInterrupt as stop:
        remedy = getattr(stop, "remedy", "")
        words = "; ".join(filter(None, [str(stop) or str(Stopped(signal.SIGINT)), remedy]))
        # Exit status that shells report for a process ended by a signal.
        number = getattr(stop, "number", signal.SIGINT)
        return LastWords(128 + number, words, follows=True)
    except Exception:  # noqa: BLE001 (a bug: it keeps its traceback, but no token in it)
        return LastWords(1, traceback.format_exc().rstrip())
    return LastWords(status)


def _is_below_folders(error: RecursionError) -> bool:
    """Return whether pathlib went through folders inside each other until the stack was full."""
    names = (frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__))
    return sum(Path(name).name == "pathlib.py" for name in names) > _MANY_FRAMES


def _after_system_error(error: OSError) -> LastWords:
    if error.errno not in _DISK_ERRORS:
        return LastWords(1, traceback.format_exc().rstrip())
    place = f"{cut(str(error.filename), _MOST_SHOWN)}: " if error.filename else ""
    remedy = _DISK_ERRORS[error.errno]
    return LastWords(1, f"{place}{remedy}, then run the same command again to resume")


def _open_streams() -> None:
    """Open closed standard streams, and make them accept every character.

    Without this, the next opened file would get a closed stream's number.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < _FIRST_FREE:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Stays open until the process ends.
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _at_home(word: str) -> str:
    """Expand a leading `~`, which shells do not expand after `--out=`."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if value == "~" or value.startswith("~/"):
        # Unlike pathlib's, it never raises.
        value = os.path.expanduser(value)  # noqa: PTH111
    return f"{option}{equals}{value}"


def _require_directory() -> None:
    """Raise a `UserError` if the current directory was removed: relative paths would be invalid."""
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        raise UserError("the current directory was removed; change to another one") from None


def _after_broken_pipe(error: BrokenPipeError) -> LastWords:
    """Return the outcome after a broken pipe: status 0 only if results went unread.

    If the reader of stderr left too, the work may have stopped anywhere.
    """
    unread = [stream for stream in (sys.stdout, sys.stderr) if not _is_read(stream)]
    for stream in unread:
        # Prevents an error when the interpreter flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if sys.stderr in unread:
        return LastWords(_PIPE_CLOSED)
    if sys.stdout in unread:
        return LastWords(0)
    words = f"a connection was closed ({error}); run the same command again to resume"
    return LastWords(1, words)


def _is_read(stream: TextIO) -> bool:
    """Return whether the other end of a stream, if it is a pipe, is still open."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
