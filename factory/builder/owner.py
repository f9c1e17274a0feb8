"""Which process this is, and whether another one on the same machine has ended.

Only Linux tells machine, process namespace and start time without help; elsewhere nothing is known
of other processes, and claims wait for their expiry.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

_SEPARATOR = "|"


def identity() -> str:
    """Return what tells this process from all others, on any machine."""
    started = _started(os.getpid()) or ""
    return _SEPARATOR.join((_place(), str(os.getpid()), started))


def is_here(identity: str) -> bool:
    """Whether a process lives on this machine, where it can be asked for."""
    place, _, rest = identity.partition(_SEPARATOR)
    pid, _, started = rest.partition(_SEPARATOR)
    return bool(place) and place == _place() and pid.isdigit() and _started(int(pid)) == started


def is_dead(identity: str) -> bool:
    """Whether a process is known to have ended; False where that cannot be known."""
    place = identity.partition(_SEPARATOR)[0]
    return bool(place) and place == _place() and not is_here(identity)


@cache
def _place() -> str:
    """Return the machine's boot and process namespace; empty where they cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Return when a process started, in the kernel's ticks; None for one that has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold anything; after it come state, ..., and as 20th the start.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]
