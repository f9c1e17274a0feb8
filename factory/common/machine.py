"""What this process may use of its machine: cores and memory, limits of containers included."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMORY_INFO = Path("/proc/meminfo")


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    count = len(allowed(0)) if allowed else os.cpu_count() or 1
    share = _cpu_share()
    return count if share is None else max(1, min(count, math.ceil(share)))


def cores_per_process() -> int:
    """Return the number of CPU cores per process of a launch on this machine."""
    return max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def default_threads() -> tuple[int, str]:
    """Return the number of CPU threads that a process uses, and the reason.

    Launchers set OMP_NUM_THREADS for their processes.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted), "OMP_NUM_THREADS"
    count = cores_per_process()
    return count, f"{count} core{'' if count == 1 else 's'}"


def free_memory() -> int | None:
    """Return the memory in bytes that this process may still use; None if unknown."""
    found = [_system_memory(), _container_memory()]
    return min((one for one in found if one is not None), default=None)


def _cpu_share() -> float | None:
    """Return a container's limit on CPU time, in cores; None without a limit."""
    words = _text(_CGROUP / "cpu.max").split()
    if len(words) != 2:
        words = [_text(_CGROUP / f"cpu/cpu.cfs_{name}_us") for name in ("quota", "period")]
    quota, period = words
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def _system_memory() -> int | None:
    for line in _text(_MEMORY_INFO).splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _container_memory() -> int | None:
    """Return what is left of a container's limit on memory; None without a limit."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        texts = _text(_CGROUP / limit), _text(_CGROUP / used)
        if all(text.isdecimal() for text in texts):
            return max(0, int(texts[0]) - int(texts[1]))
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
