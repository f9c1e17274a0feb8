"""Cores and memory that this process may use, limits of containers included."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from factory.common.text import plural

_CGROUP = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_MEMORY_INFO = Path("/proc/meminfo")
# Files of a control group, of versions 2 and 1: the limit on memory and the used memory; and the
# line of `memory.stat` for the page cache that Linux frees first.
_MEMORY = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    count = len(allowed(0)) if allowed else os.cpu_count() or 1
    share = _cpu_share()
    return count if share is None else max(1, min(count, math.ceil(share)))


def cores_per_process() -> int:
    """Return the number of CPU cores per process of a launch on this machine."""
    return max(1, cores() // processes_here())


def processes_here() -> int:
    """Return how many processes a launcher has started on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def default_threads() -> tuple[int, str]:
    """Return the number of CPU threads that a process uses, and the reason.

    Launchers set OMP_NUM_THREADS for their processes.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted), "OMP_NUM_THREADS"
    own = cores_per_process()
    return own, plural(own, "core")


def free_memory() -> int | None:
    """Return the memory in bytes that this process may still use; None if unknown."""
    found = [_system_memory(), *(left for _, left in _memory_limits())]
    return min((one for one in found if one is not None), default=None)


def memory_limit() -> int | None:
    """Return the smallest limit on the memory of this process, in bytes; None without one."""
    return min((limit for limit, _ in _memory_limits()), default=None)


def _cpu_share() -> float | None:
    """Return the smallest limit on CPU time, in cores; None without a limit."""
    shares = (_share(group) for group in _groups("cpu"))
    return min((share for share in shares if share is not None), default=None)


def _share(group: Path) -> float | None:
    words = _text(group / "cpu.max").split()
    if len(words) != 2:
        words = [_text(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    quota, period = words
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def _system_memory() -> int | None:
    for line in _text(_MEMORY_INFO).splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _memory_limits() -> Iterator[tuple[int, int]]:
    """Yield the limit on memory of each control group, and what is left of it, in bytes."""
    for group in _groups("memory"):
        for limit, used, cache in _MEMORY:
            texts = _text(group / limit), _text(group / used)
            if all(text.isdecimal() for text in texts):
                total, taken = map(int, texts)
                # Reading files fills the page cache up to the limit; it makes room when needed.
                taken -= _statistics(group).get(cache, 0)
                yield total, max(0, total - max(0, taken))


def _statistics(group: Path) -> dict[str, int]:
    pairs = (line.split() for line in _text(group / "memory.stat").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _groups(controller: str) -> list[Path]:
    """Return this process's control groups and those above them, up to the roots.

    Limits of all of them apply. A container may not see its own path; its group is then the root.
    """
    found = [_CGROUP, _CGROUP / controller]
    for line in _text(_OWN_GROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        own = Path(path.lstrip("/"))
        if (not controllers or controller in controllers.split(",")) and ".." not in own.parts:
            root = _CGROUP / controller if controllers else _CGROUP
            found += [root / one for one in (own, *own.parents)]
    return list(dict.fromkeys(found))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
