"""What the machine and the libraries are called: written into manifests and cards."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from factory import __version__

_LIBRARIES = ("torch", "diffusers", "transformers", "datasets", "accelerate", "pillow")
OURS = "data-factory"


def library_versions() -> dict[str, str]:
    """Return the versions that decide what a picture looks like, ours first."""
    found = {OURS: __version__, "python": platform.python_version()}
    return found | {name: _version(name) for name in _LIBRARIES}


def device_name(device_type: str) -> str:
    """Return the name of the device, as its maker sells it.

    Args:
        device_type: `cpu`, `cuda`, ...
    """
    if device_type == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    return _cpu_name() if device_type == "cpu" else device_type


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        # A checkout that was never installed.
        return "unknown"


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
