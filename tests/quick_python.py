"""A Python that starts in milliseconds, for tests that run commands as processes of their own.

`python()` stands for `sys.executable`. This program passes its arguments, directory, environment,
standard streams and signals to a server that has imported large libraries and the code under test
that needs no more of them. The server forks, and the fork does what `python [-m] ARGUMENTS` does;
there, `sys.executable` is this program too. huggingface_hub and its users read the environment when
they are imported: a second server has imported them, and serves processes whose variables are its
own. The processes of pytest-xdist are forks of that one, see `conftest.py`.

Only SIGKILL reaches the fork later: it is killed when this program has ended.
"""

from __future__ import annotations

import marshal
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

# Names the directory of the server that all processes of a test run share.
VARIABLE = "TESTS_QUICK_PYTHON"
_LENGTH_BYTES = 8
_HUB = "hub"
_READ_AT_IMPORT = ("HF_", "TRANSFORMERS_", "DIFFUSERS_", "DATASETS_", "XDG_")
_LIBRARIES = (
    *("torch.distributed.run", "torch._dynamo", "torchvision.transforms.v2", "scipy.stats"),
    *("pandas", "pyarrow.dataset", "pyarrow.parquet", "PIL.Image", "matplotlib.figure"),
    *("boto3", "dill", "fsspec.implementations.local", "httpx2", "jinja2", "multiprocess"),
    *("psutil", "requests", "safetensors.torch", "tokenizers", "xxhash", "yaml", "threadpoolctl"),
    # Parts that are imported when they are used.
    *("pydantic.main", "pydantic.fields", "pydantic.dataclasses", "pydantic.json_schema"),
    *("pydantic.root_model", "pydantic.functional_validators", "PIL.JpegImagePlugin"),
    *("PIL.GifImagePlugin", "PIL.BmpImagePlugin", "PIL.PpmImagePlugin", "scipy.io", "pyarrow.json"),
    # What huggingface_hub and datasets need.
    *("filelock", "httpcore2", "anyio.to_thread", "truststore", "tqdm.auto", "fsspec.asyn"),
    "multiprocess.pool",
    # The code under test, without what imports huggingface_hub.
    *("factory.command_line.cli", "factory.cli.build", "factory.cli.check", "factory.cli.push"),
    *("factory.builder.build", "factory.sharing.push_dataset", "quick_plots"),
)
# Not onnxruntime: it starts threads, and then a fork may abort when it ends, or hang.
HUB_LIBRARIES = (
    *("datasets", "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion", "timm"),
    *("diffusers.schedulers.scheduling_dpmsolver_multistep", "accelerate", "evaluate"),
    *("transformers.models.clip.modeling_clip", "timm.optim"),
    *("sklearn.datasets", "factory.renderer.pipelines", "eval.commands.predict"),
    *("eval.measure", "eval.classifier", "eval.score", "factory.cli.new", "train.model"),
    *("factory.renderer.diffusers_renderer", "train.cli", "train.loop", "eval.commands.score"),
)


def python() -> str:
    """Return the path of the program; the first call in a test run starts its servers."""
    import fcntl
    from pathlib import Path

    folder = Path(os.environ[VARIABLE])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "python").exists():
            kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
            start(folder, {k: v for k, v in kept.items() if not k.startswith(_READ_AT_IMPORT)})
            hub = folder / _HUB
            hub.mkdir()
            (hub / "owner").write_text((folder / "owner").read_text())
            start(hub, kept, HUB_LIBRARIES, python=str(folder / "python"))
            (hub / "variables").write_bytes(marshal.dumps(_variables()))
    return str(folder / "python")


def _variables() -> list[tuple[str, str]]:
    """Return what libraries read at import, except what changes nothing without downloads."""
    found = (one for one in os.environ.items() if one[0].startswith(_READ_AT_IMPORT))
    return sorted(one for one in found if one[0] != "HF_HUB_DISABLE_PROGRESS_BARS")


def _server_for(folder: str) -> str:
    """Return the folder of the server that may run this process."""
    try:
        with open(f"{folder}/{_HUB}/variables", "rb") as file:  # noqa: PTH123 (quick)
            return f"{folder}/{_HUB}" if marshal.load(file) == _variables() else folder
    except FileNotFoundError:
        return folder


def start(
    folder: Any, environment: dict[str, str], libraries: Sequence[str] = (), python: str = ""
) -> str:
    """Start a server; return the path of its program.

    Args:
        folder: A `pathlib.Path` with the file `owner`: the process whose end is the server's.
        environment: The server's. Libraries that read it at import see it.
        libraries: Further modules that it imports.
        python: The program of a server to begin with; otherwise this Python.
    """
    import subprocess

    words = [__file__, str(folder), "--serve", (folder / "owner").read_text(), *libraries]
    subprocess.run([python or sys.executable, *words], env=environment, check=True)
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{__file__}" "{folder}" "$@"\n')
    path.chmod(0o755)
    return str(path)


def _ask(folder: str, arguments: list[str]) -> int:
    """Have the server run Python; return the exit status as `subprocess` reports it."""
    import signal

    path = f"{folder}/python"
    request = marshal.dumps((path, arguments, os.getcwd(), dict(os.environ)))  # noqa: PTH109 (quick)
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(f"{_server_for(folder)}/socket")
        length = len(request).to_bytes(_LENGTH_BYTES, "big")
        socket.send_fds(server, [length], [0, 1, 2])
        server.sendall(request)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: server.send(bytes([number])))
        return int(server.makefile().read())


def _end(status: int) -> None:
    """End as the fork did: with an exit status, or by a signal (a negative status)."""
    import signal

    if status < 0:
        with suppress(OSError):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _preload(libraries: Sequence[str]) -> None:
    import gc
    import warnings
    from importlib import import_module
    from pathlib import Path

    # Not what is installed, which may be another copy of the code under test.
    root = str(Path(__file__).parents[1])
    sys.path.insert(0, root)
    with warnings.catch_warnings(action="error"):  # as pytest does while it imports tests
        for name in (*_LIBRARIES, *libraries):
            # What is missing here, or is there no more, the fork imports or does without.
            with suppress(ImportError):
                import_module(name)
    sys.path.remove(root)
    # It reads the environment of a request, unless this server is the one for its variables.
    assert "huggingface_hub" not in sys.modules or set(HUB_LIBRARIES) <= set(libraries)
    _name_steps_of_launches_quickly()
    if mapping := sys.modules.get("transformers.conversion_mapping"):
        # Made by the first model that is loaded, in half a second; the result is kept.
        mapping.get_checkpoint_conversion_mapping("")
    sys.modules["quick_plots"].draw()
    _leave_libraries_as_they_are()
    gc.collect()
    gc.freeze()


def _leave_libraries_as_they_are() -> None:
    """Have forks end without clearing what they share: torch's operators, a table of its times."""
    import atexit
    import weakref

    import torch._dynamo.utils

    atexit.unregister(torch._dynamo.utils.dump_compile_times)
    for one in list(weakref.finalize._registry):
        one.atexit = False


def _name_steps_of_launches_quickly() -> None:
    """Leave out of torchrun's records which function wrote them.

    It looks for it in every imported module; a launch does so nine times, in three seconds.
    """
    from torch.distributed.elastic.rendezvous import dynamic_rendezvous

    dynamic_rendezvous.get_method_name = lambda depth=2: "unknown"


class _Fork:
    """A process that does a request, as its server sees it."""

    def __init__(self, process: int, connection: socket.socket) -> None:
        self._process = process
        self._connection = connection
        self._ended = os.pidfd_open(process)
        self.descriptors = (self._ended, connection.fileno())

    def look(self, ready: Collection[int]) -> bool:
        """Pass a signal on, or report the end; return whether the process has ended."""
        from signal import SIGKILL

        if self._ended in ready:
            status = os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])
            with suppress(OSError):
                self._connection.sendall(str(status).encode())
            self.close()
            return True
        printed = b""
        with suppress(ConnectionResetError):
            printed = self._connection.recv(1)
        os.kill(self._process, printed[0] if printed else SIGKILL)
        return False

    def close(self) -> None:
        os.close(self._ended)
        self._connection.close()


def _serve(listener: socket.socket, owner: int) -> Any:
    """Return a request in the fork that is to do it; the server ends with the test run."""
    from select import POLLIN, poll

    waiting, ended = poll(), os.pidfd_open(owner)
    waiting.register(listener, POLLIN)
    waiting.register(ended, POLLIN)
    forks: list[_Fork] = []
    while ended not in (ready := dict(waiting.poll())):
        for one in [one for one in forks if ready.keys() & set(one.descriptors)]:
            if one.look(ready):
                forks.remove(one)
                for descriptor in one.descriptors:
                    waiting.unregister(descriptor)
        if listener.fileno() in ready:
            connection, _ = listener.accept()
            process, request = _fork(connection)
            if process == 0:
                for one in forks:
                    one.close()
                listener.close()
                connection.close()
                os.close(ended)
                return marshal.loads(request)
            forks.append(_Fork(process, connection))
            for descriptor in forks[-1].descriptors:
                waiting.register(descriptor, POLLIN)
    os._exit(0)


def _fork(connection: socket.socket) -> tuple[int, bytes]:
    """Fork a process with the standard streams of a request; return its id, or 0 in it."""
    length, streams, *_ = socket.recv_fds(connection, _LENGTH_BYTES, 3)
    with connection.makefile("rb") as file:
        request = file.read(int.from_bytes(length, "big"))
    process = os.fork()
    for number, stream in enumerate(streams):
        if process == 0:
            os.dup2(stream, number)
        os.close(stream)
    return process, request


def _become(path: str, arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Do what `python ARGUMENTS` does."""
    import runpy
    from pathlib import Path
    from types import ModuleType

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.executable = path
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    how, *words = arguments[arguments[0] == "-u" :]
    if how == "-m":
        sys.path[0], sys.argv = folder, words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif how == "-c":
        sys.path[0], sys.argv = "", [how, *words[1:]]
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(compile(words[0], "<string>", "exec"), main.__dict__)
    else:
        assert not how.startswith("-"), f"{how}: only -u, -m and -c are known"
        sys.path[0], sys.argv = str(Path(how).parent), [how, *words]
        runpy.run_path(how, run_name="__main__")


def _finish(status: object) -> None:
    """End as Python does, except that it does not take its modules apart: that takes longest."""
    import atexit
    import threading

    if status is not None and not isinstance(status, int):
        sys.stderr.write(f"{status}\n")
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


def _main(folder: str, *words: str) -> None:
    if words[:1] != ("--serve",):
        _end(_ask(folder, list(words)))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/socket")
    listener.listen(64)
    if os.fork():
        os._exit(0)
    os.setsid()
    _preload(words[2:])
    request = _serve(listener, owner=int(words[1]))
    try:
        _become(*request)
    except SystemExit as left:
        _finish(left.code)
    else:
        _finish(None)


if __name__ == "__main__":
    _main(*sys.argv[1:])
