"""Compile a pipeline's network with torch.compile."""

import logging
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

from factory.common.errors import UserError
from factory.renderer.guidance import network_of

# One for each shape of a block, twice with a guidance interval; torch's default of 8 is too few.
_SHAPES = 64
_COMPILERS = {
    "linux": ("g++", "Debian: apt install g++"),
    "darwin": ("clang++", "xcode-select --install"),
    "win32": ("cl", "Build Tools for Visual Studio"),
}
"""By system: the usual one, and how to get it."""


def compile_network(pipeline: Any, part: str) -> None:
    """Let torch.compile translate a network when it is called first.

    Compiled code is kept in `TORCHINDUCTOR_CACHE_DIR`, by default a folder of the user: torch's own
    default, in the temporary directory, is lost with it, and another user could put code there.

    Args:
        pipeline: On its device.
        part: `blocks`: the blocks that its network repeats, which takes the least time; or
            `network`.

    Raises:
        UserError: There is no C++ compiler, torch is too old, or the network names no repeated
            blocks.
    """
    import torch

    network = network_of(pipeline)
    if part == "blocks" and not getattr(network, "_repeated_blocks", None):
        raise UserError(
            f"--compile blocks: {type(network).__name__} names no repeated blocks in diffusers; "
            "use --compile network, or remove the option"
        )
    _require_compiler()
    _choose_without_timing()
    logging.getLogger("torch.utils.cpp_extension").addFilter(_is_of_use)
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home / "data-factory" / "torchinductor"))
    # Beyond its limit torch would compute the rest without compiling, which no one would notice.
    torch._dynamo.config.recompile_limit = _SHAPES
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    # Advice for the developers of what is compiled.
    warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`")
    if part == "network":
        # Its hooks, which count steps, stay outside.
        network.forward = torch.compile(network.forward, dynamic=False)
    else:
        network.compile_repeated_blocks(dynamic=False)


def _choose_without_timing() -> None:
    """Let torch choose code by rules; by timing, each process could choose other code on a GPU."""
    import torch

    settings = torch._inductor.config
    if not hasattr(settings, "deterministic"):
        raise UserError(
            f"--compile needs torch 2.10 or newer, not {torch.__version__}: an older one chooses "
            "code by timing, so each process may generate other bytes; update torch, or remove the "
            "option"
        )
    settings.deterministic = True


def _is_of_use(record: logging.LogRecord) -> bool:
    """Return whether a message is not about a CUDA that is missing, but not used here either."""
    return not str(record.msg).startswith("No CUDA runtime is found")


def _require_compiler() -> None:
    usual, how = _COMPILERS.get(sys.platform, _COMPILERS["linux"])
    wanted = os.environ.get("CXX") or usual
    if shutil.which(wanted) is None:
        raise UserError(
            f"--compile needs a C++ compiler, but there is no {wanted} on the PATH; install one "
            f"({how}), or remove the option"
        )
