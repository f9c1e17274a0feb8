"""Which launcher started this process, if any."""

from __future__ import annotations

import os
import re

# Variables that torchrun, accelerate and MPI's launchers set for their processes.
_TORCHRUN = re.compile(r"(LOCAL_)?(RANK|WORLD_SIZE)")
_MPI = re.compile(r"(OMPI_COMM_WORLD|MV2_COMM_WORLD|PMI)_(SIZE|RANK)")
_ACCELERATE = "ACCELERATE_MIXED_PRECISION"
_SLURM = "SLURM_STEP_NUM_TASKS"


def launcher() -> str | None:
    """Return the launcher that started this process, as text; None if a user did."""
    found = [name for name, value in os.environ.items() if value]
    if _ACCELERATE in found:
        return "accelerate launch"
    if any(map(_TORCHRUN.fullmatch, found)):
        return "torchrun"
    if any(map(_MPI.fullmatch, found)):
        return "mpirun"
    # A step of one task is a process that may use all that the task was given.
    return "srun" if os.environ.get(_SLURM, "1") not in ("", "1") else None
