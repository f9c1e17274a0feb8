"""What a process computes on."""

from __future__ import annotations

import platform
from pathlib import Path


def launched_on_cpus() -> bool:
    """Return whether the launch said so: `accelerate launch --cpu`, or its environment."""
    from accelerate.utils import parse_flag_from_env

    return bool(parse_flag_from_env("ACCELERATE_USE_CPU"))


def on_cpus() -> bool:
    """Return whether this process computes on a CPU: none other is there, or it was launched so.

    Unless told so, accelerate takes each of several processes on CPUs for the only one.
    """
    import torch

    return launched_on_cpus() or not torch.accelerator.is_available()


def device_name(device_type: str) -> str:
    """Return the name of the device, as its maker sells it.

    Args:
        device_type: `cpu`, `cuda`, ...
    """
    if device_type == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    return _cpu_name() if device_type == "cpu" else device_type


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
