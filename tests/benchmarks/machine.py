"""Describe the machine and the versions that a benchmark ran with."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from factory.common.resources import cores, memory_limit
from factory.common.version import library_versions

from . import ROOT

_LIBRARIES = ("timm", "evaluate", "numpy", "pyarrow", "safetensors")


def facts(device: str) -> dict[str, str]:
    """Return the commit, processor, cores, memory, load before the start, and the GPU if used."""
    found = {
        "commit": commit(),
        "processor": _processor(),
        "cores": str(cores()),
        "memory": f"{_memory() / 2**30:.0f} GiB",
        "system": platform.system(),
        "load before": f"{os.getloadavg()[0]:.1f} processes",
    }
    if device == "cuda":
        import torch

        memory = torch.cuda.get_device_properties(0).total_memory
        found["GPU"] = f"{torch.cuda.get_device_name(0)}, {memory / 2**30:.0f} GiB"
        found["CUDA"] = str(torch.version.cuda)
    return found


@cache
def commit() -> str:
    """Return the commit of this code, with `-dirty` if tracked files differ from it.

    Asked once per run, which itself changes the page of results.
    """
    words = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Return the versions of this package and of the libraries that it is compared with."""
    return library_versions() | {name: _version(name) for name in _LIBRARIES}


def now() -> str:
    """Return date and time in UTC, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = " ".join(line for line in lines[:40] if line.startswith("flags"))
    extras = [name for name in ("avx512_bf16", "amx_bf16") if name in flags]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name} ({', '.join(extras)})" if extras else name


def _memory() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(total, memory_limit() or total)
