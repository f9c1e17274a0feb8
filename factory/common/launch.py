"""Detect how many processes a launch requested.

Some commands start one process although several were requested, e.g. `accelerate launch --cpu
--num_processes 2`. The result is correct but slow, so a warning is logged.
"""

from __future__ import annotations

import os
from pathlib import Path

from factory.common import console

# Variables set by launchers: torchrun and accelerate, SLURM, Open MPI, MPICH and Intel MPI.
_VARIABLES = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_FLAGS = ("--num_processes", "--num-processes", "--nproc-per-node", "--nproc_per_node")


def warn_if_alone(command: str, *, in_parts: bool = False) -> bool:
    """Log a warning if the environment or the launch command requests several processes.

    Only a process that runs alone should call this.

    Args:
        command: The user's command without launcher; the warning repeats it in a launch line.
        in_parts: Whether the command has an option `--part` (for job arrays).

    Returns:
        Whether the warning was logged.
    """
    asked, source = asked_for()
    if asked < 2:
        return False
    parts = f"; in a job array use --part I/{asked}" if in_parts else ""
    console.log(
        f"{asked} processes were requested ({source}) but only 1 was started; to start "
        f"{asked}: accelerate launch --multi_gpu --num_processes {asked} {command} (works "
        f"without GPUs; --cpu starts one process only), or torchrun --nproc-per-node {asked} -m "
        f"{command}{parts}"
    )
    return True


def asked_for() -> tuple[int, str]:
    """Return how many processes were requested, and where: a variable or launch option.

    Returns:
        Number and source, e.g. (4, "WORLD_SIZE=4"); (1, "") if no source requests more than one.
    """
    named = {name: os.environ.get(name, "") for name in _VARIABLES}
    found = [(_number(text), f"{name}={text}") for name, text in named.items()]
    words = _launcher_words()
    for place, word in enumerate(words):
        flag, _, value = word.partition("=")
        if flag in _FLAGS:
            text = value or (words[place + 1] if place + 1 < len(words) else "")
            found.append((_number(text), f"{flag} {text}"))
    return max([(1, ""), *found], key=lambda one: one[0])


def _launcher_words() -> list[str]:
    """Return the command line of the parent process, if it is a launcher."""
    try:
        line = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:
        return []
    words = line.decode(errors="replace").split("\0")
    is_launcher = any("accelerate" in word or "torch" in word for word in words[:4])
    return words if is_launcher else []


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 1
