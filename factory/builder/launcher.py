"""Run this command line in several processes of one group, through torch's elastic launcher."""

import ctypes
import logging
import os
import signal
import sys
import tempfile
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from factory.common.errors import Failure
from factory.common.imports import without_garbage_collection
from factory.common.process_messages import FOLDER, read_all
from factory.common.program import own_words
from factory.common.stop_signals import Stopped, stopping_on_signals

_SIGNALS = "signals_to_handle"
# From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
_LAUNCHER = "DATA_FACTORY_LAUNCHER"
"""Environment variable with the id of the process that started a group."""
_NOBODY_READS = 128 + signal.SIGPIPE


def run_in_processes(count: int) -> int:
    """Start this command line again in `count` processes of one group, and wait for them.

    Returns:
        The exit status: 0, or that of a process that had nothing to say.

    Raises:
        Failure: A process failed, with the message and exit status of the first one.
        Stopped: A signal asked to stop; the processes have stopped.
    """
    with without_garbage_collection():
        from torch.distributed.elastic.multiprocessing import SignalException
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import launch_agent

    # The launcher replaces `$$` and `${local_rank}` in arguments.
    words = [word.replace("$", "$$") for word in [*own_words(), *sys.argv[1:]]]
    with stopping_on_signals(for_good=True), tempfile.TemporaryDirectory() as folder:
        try:
            with _environment(folder), _silence():
                launch_agent(_config(count), words[0], words[1:])
        except ChildFailedError as error:
            return _pass_on(Path(folder), [one.exitcode for one in error.failures.values()])
        except SignalException as error:
            raise Stopped(error.sigval) from None
    return 0


def end_with_launcher() -> None:
    """Let the system end this process if the one that started it in a group is killed.

    Only on Linux. The group's processes have sessions of their own, so no terminal reaches them.
    """
    launcher = os.environ.get(_LAUNCHER)
    if launcher is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # It may have ended before, while this process was starting.
    if os.getppid() != int(launcher) and not Path(f"/proc/{launcher}").exists():
        raise Stopped(signal.SIGTERM)


def _config(count: int) -> Any:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
    )
    if _SIGNALS in {field.name for field in fields(config)}:
        # The handlers of `stopping_on_signals` stay, and `nohup` has its effect.
        setattr(config, _SIGNALS, "")
    return config


@contextmanager
def _environment(folder: str) -> Iterator[None]:
    """Set what the processes inherit: where to leave messages, one thread for each library."""
    before = dict(os.environ)
    os.environ[FOLDER], os.environ[_LAUNCHER] = folder, str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _silence() -> Iterator[None]:
    """Silence the launcher: what went wrong is in the messages of the processes."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _pass_on(folder: Path, statuses: Iterable[int]) -> int:
    """Raise the message of the process that failed first, with its exit status."""
    statuses = list(statuses)
    messages = read_all(folder)
    only_follow = all(one.follows for one in messages)
    killed = [-status for status in statuses if status < 0 and -status != signal.SIGTERM]
    if killed and only_follow:
        raise Failure(
            f"a process was ended by {signal.Signals(killed[0]).name}, by hand or for lack of "
            "memory; run the same command again to resume, with fewer --processes if memory is "
            "short"
        )
    silent = [status for status in statuses if status == _NOBODY_READS]
    if silent and only_follow:
        return _NOBODY_READS
    if not messages:
        # As shells report the end by a signal.
        return max(128 - status if status < 0 else status for status in statuses)
    error = Failure(messages[0].text)
    error.exit_status = messages[0].status
    raise error
