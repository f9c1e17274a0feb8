"""What a process computes on."""

from __future__ import annotations


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
