"""How many processes were asked for, by whatever launched this one.

Some launch lines start one process where several were asked for: `accelerate launch --cpu
--num_processes 2` is one of them. The result is right all the same, but slow, so it says so.
"""

from __future__ import annotations

import os
from pathlib import Path

from factory.common import console

# What launchers set: torchrun and accelerate, SLURM, Open MPI, MPICH and Intel MPI.
_VARIABLES = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_FLAGS = ("--num_processes", "--num-processes", "--nproc-per-node", "--nproc_per_node")


def warn_if_alone(command: str, *, in_parts: bool = False) -> bool:
    """Say so if several processes were asked for; call where this process is the only one.

    Args:
        command: What was to be run, for the launch line to use.
        in_parts: Whether it takes `--part`, for the tasks of an array job.

    Returns:
        Whether there was something to say.
    """
    asked, source = asked_for()
    if asked < 2:
        return False
    parts = f"; tasks of an array job: --part I/{asked}" if in_parts else ""
    console.log(
        f"{asked} processes were asked for ({source}), 1 was started, without a group; to start "
        f"{asked}: accelerate launch --multi_gpu --num_processes {asked} {command} (it works "
        f"without GPUs; --cpu starts one process only), or torchrun --nproc-per-node {asked} -m "
        f"{command}{parts}"
    )
    return True


def asked_for() -> tuple[int, str]:
    """Return how many processes the environment or the launch line asks for, and where it says so.

    (1, "") where nothing asks for more.
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
    """Return the command line of the process that started this one, if it is a launcher."""
    try:
        line = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:
        return []
    words = line.decode(errors="replace").split("\0")
    is_launcher = any("accelerate" in word or "torch" in word for word in words[:4])
    return words if is_launcher else []


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 1
