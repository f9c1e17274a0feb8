"""Lock a run folder against a second training."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from factory.common.console import log
from factory.common.errors import Failure, UserError

LOCK = ".lock"
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def only_run(out: Path) -> Iterator[Callable[[], None]]:
    """Lock a run folder against a second training, until this process ends.

    On file systems without locks this only logs a warning.

    Returns:
        A check that the folder is still the same one, for use before anything is written: while a
        process is suspended, people may move the folder and start another training there.

    Raises:
        UserError: Another training is running there, or the lock file is a link.
    """
    import fcntl

    path = out / LOCK
    if path.is_symlink():
        raise UserError(f"{path}: is a link and not a lock file of `train`; remove it")
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{out}: another training is running in this folder; wait for it, or choose "
                "another --out"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            log(
                f"{out}: its file system has no locks ({error.strerror}), so a second training in "
                "it cannot be prevented; start only one"
            )
        yield partial(_require_same, path, os.fstat(file.fileno()))


def _require_same(lock: Path, locked: os.stat_result) -> None:
    with suppress(FileNotFoundError):
        if os.path.samestat(lock.stat(), locked):
            return
    raise Failure(
        f"{lock.parent}: was moved, removed or replaced while this training ran; nothing more is "
        "written to it"
    )
