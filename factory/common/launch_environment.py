"""Which launcher started this process, if any, and how many processes it started."""

import os
import re

LAUNCH_VARIABLE = re.compile(
    r"(LOCAL_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)|(OMPI_COMM_WORLD|MV2_COMM_WORLD|PMI)_(SIZE|RANK)"
    r"|ACCELERATE_(USE_\w+|MIXED_PRECISION)"
)
"""Variables that launchers set for their processes; another tool may have left them behind."""
_ACCELERATE = "ACCELERATE_MIXED_PRECISION"
_TORCHRUN = "TORCHELASTIC_RUN_ID"
# Sizes of MPI's and Slurm's launches. One of size 1 is a process that may use all it was given, and
# schedulers set such variables, or RANK and WORLD_SIZE of 1, for jobs that no launcher started.
_SIZES = {
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "MV2_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpirun",
    "SLURM_STEP_NUM_TASKS": "srun",
}


def in_launch() -> bool:
    """Return whether variables say that this process is one of a launch, or configure accelerate.

    A process without them does not need accelerate.
    """
    return any(
        LAUNCH_VARIABLE.fullmatch(name) or name.startswith("ACCELERATE_") for name in os.environ
    )


def launcher() -> tuple[str, int] | None:
    """Return the launcher that started this process, as text, and its number of processes.

    None if a user started it.
    """
    is_member = bool(os.environ.get("RANK"))
    size = _number("WORLD_SIZE") if is_member else 1
    if os.environ.get(_ACCELERATE):
        return "accelerate launch", size
    if size > 1 or (is_member and os.environ.get(_TORCHRUN)):
        return "torchrun", size
    found = [(name, _number(variable)) for variable, name in _SIZES.items()]
    return next(((name, count) for name, count in found if count > 1), None)


def _number(variable: str) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else 1
