"""Devices: detect the CPU or accelerator of a process, and report a lack of memory."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.common.console import log
from factory.common.errors import Failure, UserError, first_line
from factory.common.imports import without_garbage_collection
from factory.common.launch_environment import LAUNCH_VARIABLE, launcher
from factory.common.resources import default_threads

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState

# Allocators without an error class of their own are recognised by these words.
_LACK_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|_STATUS_ALLOC_FAILED", re.IGNORECASE
)


def launched_on_cpus() -> bool:
    """Return whether the launch uses CPUs: `accelerate launch --cpu`, or its environment."""
    if "ACCELERATE_USE_CPU" not in os.environ:
        return False
    from accelerate.utils import parse_flag_from_env

    return bool(parse_flag_from_env("ACCELERATE_USE_CPU"))


def on_cpus() -> bool:
    """Return whether this process computes on a CPU, by choice or for lack of another device.

    Without this, accelerate assumes that each CPU process is the only one.
    """
    with without_garbage_collection():
        import torch

    return launched_on_cpus() or not torch.accelerator.is_available()


def find_device(wanted: str = "auto") -> torch.device:
    """Return a device by its name, or the one that this machine computes on.

    Args:
        wanted: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`, `xpu`.

    Raises:
        UserError: There is no such device here.
    """
    import torch

    offered = torch.device("cpu") if on_cpus() else torch.accelerator.current_accelerator()
    if wanted == "auto" and offered is not None:
        return offered
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"device {wanted} was requested, but this machine has {offered}") from None
    return device


def choose_threads(wanted: int | None, *, shows: bool) -> int:
    """Return the number of CPU threads for a process of training or scoring.

    Args:
        wanted: What the user or an earlier part of a run chose; None chooses for the machine: all
            cores if it computes on CPUs, else 1.
        shows: Whether to log the choice.
    """
    if wanted is not None:
        return wanted
    if not on_cpus():
        _log_idle_gpus(shows)
        return 1
    count, reason = default_threads()
    if shows:
        unit = "thread" if count == 1 else "threads"
        log(f"{count} CPU {unit} per process ({reason}); --threads N changes this")
    return count


def _log_idle_gpus(shows: bool) -> None:
    """Log that a process uses one of several GPUs, unless a launcher decided on the number."""
    import torch

    count = torch.cuda.device_count()
    if shows and count > 1 and launcher() is None:
        log(f"1 of {count} GPUs; a launcher such as accelerate or torchrun uses all: docs/train.md")


def device_name(device_type: str) -> str:
    """Return the product name of the device."""
    if device_type == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    return _cpu_name() if device_type == "cpu" else device_type


def is_lack_of_memory(error: BaseException) -> bool:
    """Return whether an error means that a device or this machine is out of memory."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_LACK_OF_MEMORY.search(str(error)))


@contextmanager
def reporting_lack_of_memory(remedy: str) -> Iterator[None]:
    """Report a lack of memory in one line.

    Raises:
        Failure: There was not enough memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_lack_of_memory(error):
            raise
        raise Failure(f"out of memory ({memory_words(error)}); {remedy}") from None


def memory_words(error: BaseException) -> str:
    """Return the error without the allocator's statistics and advice."""
    line = first_line(error)
    tried = re.match(r".*?Tried to allocate [\d.]+ \w+", line)
    return tried.group() if tried else line


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def this_process(device: str = "auto", **options: Any) -> PartialState:
    """Join the processes of the launch, and return this one among them.

    Args:
        device: `auto`, or a device type; `cpu` avoids the GPUs.
        options: Of `accelerate.PartialState`.

    Raises:
        UserError: There is no such device, or the launch's variables are contradictory.
    """
    with without_garbage_collection():
        from accelerate import PartialState

    with joining_processes():
        state = PartialState(cpu=device == "cpu" or on_cpus(), **options)
    require_device(device, state.device)
    return state


def sole_device(wanted: str = "auto") -> torch.device:
    """Return the device of a process that is in no launch.

    Args:
        wanted: `auto`, or a device type; `cpu` avoids the GPUs.

    Raises:
        UserError: There is no such device.
    """
    import torch

    found = None if wanted == "cpu" or on_cpus() else torch.accelerator.current_accelerator()
    found = found or torch.device("cpu")
    require_device(wanted, found)
    return found


def require_device(wanted: str, found: torch.device) -> None:
    """Raise a `UserError` if a launch gave this process another type of device."""
    if wanted not in ("auto", found.type):
        raise UserError(f"device {wanted} was requested, but {_offer(found.type)}")


def _offer(kind: str) -> str:
    if kind == "cpu" and launched_on_cpus():
        return "the launch is on CPUs (accelerate launch --cpu)"
    return f"this machine has {kind}"


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set PyTorch's threads for a block: their number changes the last digits of float32."""
    with without_garbage_collection():
        import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def joining_processes() -> Iterator[None]:
    """Report contradictory environment variables if the processes of a launch cannot be joined.

    Raises:
        UserError: The variables contradict each other or ask for something unavailable.
    """
    import torch.distributed

    try:
        yield
    except (ValueError, ImportError, torch.distributed.DistError) as error:
        found = [name for name in sorted(os.environ) if LAUNCH_VARIABLE.fullmatch(name)]
        if not found:
            raise
        listed = ", ".join(f"{name}={os.environ[name]}" for name in found)
        raise UserError(
            f"this process cannot join a launch ({first_line(error)}); the environment has "
            f"{listed}: unset variables left by another launch, or correct them"
        ) from None
