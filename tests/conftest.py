"""Every test runs without a network, on one thread, with caches of its own."""

import errno
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from localhub import LocalHub

# Read at import by datasets, huggingface_hub and evaluate: set before any test module imports them.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf-home-")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(params=["xet", "lfs"])
def hub(request: pytest.FixtureRequest) -> "Iterator[LocalHub]":
    """A loopback Hub, once with Xet and once with plain LFS; see `hub_parts` for its clients."""
    from localhub import LocalHub

    with LocalHub(xet=request.param == "xet") as started:
        yield started


@pytest.fixture(params=["xet", pytest.param("lfs", marks=pytest.mark.soak)])
def either_hub(request: pytest.FixtureRequest) -> "Iterator[LocalHub]":
    """The same for what hardly depends on the mode: the second one only in the long run."""
    from localhub import LocalHub

    with LocalHub(xet=request.param == "xet") as started:
        yield started


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """Commands that are called in this process stay deaf to a second signal, for good."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def without_heic(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the decoder of HEIC, an extra, were not installed."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)


@pytest.fixture
def windows_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rules of Windows: folders are not opened, only writable files synced, none replaced.

    `os.rename` refuses a name that is taken; `os.replace` does not.
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
