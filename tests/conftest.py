"""Settings of every test: no network, one thread, caches of its own."""

import atexit
import errno
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import quick_python

if TYPE_CHECKING:
    from localhub import LocalHub


# A test that imports so many has imported a library.
_MANY_MODULES = 50

# Shells start background jobs, and nohup starts all, with signals ignored that tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if quick_python.VARIABLE not in os.environ:
    # Processes of pytest-xdist inherit it.
    shared = os.environ[quick_python.VARIABLE] = tempfile.mkdtemp(prefix="tests-")
    Path(shared, "owner").write_text(str(os.getpid()))
    atexit.register(shutil.rmtree, shared, ignore_errors=True)
# Read at import by datasets, huggingface_hub and evaluate: set before any test module imports them.
os.environ["HF_HOME"] = f"{os.environ[quick_python.VARIABLE]}/hf-home"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Not the program that has forked this process, see `pytest_xdist_setupnodes`.
    sys.executable = sys.orig_argv[0]

# The objects of large libraries stay. Looking through them for garbage again and again costs a part
# of every test; the same is done for commands, see factory/common/imports.py.
gc.disable()

import quick_plots  # noqa: E402, F401 (after the variables)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Fork the processes of a test run: the server that tests need has imported the libraries."""
    for spec in specs:
        spec.python = quick_python.python()


def pytest_collection_finish() -> None:
    """Collect garbage again when the test modules are imported."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, Any, Any]:
    """Leave out what a test has imported, too."""
    before = len(sys.modules)
    try:
        return (yield)
    finally:
        if len(sys.modules) > before + _MANY_MODULES:
            gc.freeze()


@pytest.fixture(params=["xet", "lfs"])
def hub(request: pytest.FixtureRequest) -> "Iterator[LocalHub]":
    """A loopback Hub, once with Xet and once with plain LFS; see `hub_parts` for its clients."""
    from localhub import LocalHub

    with LocalHub(xet=request.param == "xet") as started:
        yield started


@pytest.fixture(params=["xet", pytest.param("lfs", marks=pytest.mark.soak)])
def either_hub(request: pytest.FixtureRequest) -> "Iterator[LocalHub]":
    """The same for tests that hardly depend on the mode; the soak runs both modes."""
    from localhub import LocalHub

    with LocalHub(xet=request.param == "xet") as started:
        yield started


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 60 images of three colours, for trainings; tests must not change it."""
    from test_train import make_set

    return make_set(tmp_path_factory.mktemp("sets") / "colours")


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """Restore signal handlers after each test: some commands replace them for good."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _bars_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command with `--quiet` hides those of its process, also in later tests."""
    monkeypatch.setattr("factory.common.console._bars_hidden", False)


@pytest.fixture
def without_heic(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the decoder of HEIC, an extra, were not installed."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)


@pytest.fixture
def windows_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rules of Windows: folders cannot be opened, only writable files synced, none replaced.

    `os.rename` refuses an existing name; `os.replace` does not.
    """
    import fcntl

    real_fsync, real_open, real_rename = os.fsync, os.open, os.rename

    def fsync(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        real_fsync(descriptor)

    def open_file(path: Any, *arguments: Any, **options: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_open(path, *arguments, **options)

    def rename(source: Any, target: Any, **options: Any) -> None:
        if Path(target).exists():
            raise FileExistsError(errno.EEXIST, "File exists", str(source), None, str(target))
        real_rename(source, target, **options)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(os, "rename", rename)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the directory of a family's tiny model, saved on first use."""
    import tiny_families

    root = tmp_path_factory.mktemp("families")

    def save(name: str) -> Path:
        folder = root / name
        if not folder.is_dir():
            getattr(tiny_families, name)(root / f"parts-{name}").save_pretrained(folder)
        return folder

    return save
