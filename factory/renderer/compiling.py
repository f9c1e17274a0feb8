"""Compile a pipeline's network with torch.compile."""

import os
import shutil
from pathlib import Path
from typing import Any

from factory.common.errors import UserError
from factory.renderer.guidance import network_of

# One for each shape of a block, twice with a guidance interval; torch's default of 8 is too few.
_SHAPES = 64


def compile_network(pipeline: Any, part: str) -> None:
    """Let torch.compile translate a network when it is called first.

    Compiled code is kept in `TORCHINDUCTOR_CACHE_DIR`, by default a folder of the user: torch's own
    default, in the temporary directory, is lost with it, and another user could put code there.

    Args:
        pipeline: On its device.
        part: `blocks`: the blocks that its network repeats, which takes the least time; or
            `network`.

    Raises:
        UserError: There is no C++ compiler, or the network names no repeated blocks.
    """
    import torch

    _require_compiler()
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home / "data-factory" / "torchinductor"))
    # Beyond its limit torch would compute the rest without compiling, which no one would notice.
    torch._dynamo.config.recompile_limit = _SHAPES
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    network = network_of(pipeline)
    if part == "network":
        # Its hooks, which count steps, stay outside.
        network.forward = torch.compile(network.forward, dynamic=False)
    elif getattr(network, "_repeated_blocks", None):
        network.compile_repeated_blocks(dynamic=False)
    else:
        raise UserError(
            f"--compile blocks: {type(network).__name__} names no repeated blocks in diffusers; "
            "use --compile network, or remove the option"
        )


def _require_compiler() -> None:
    wanted = os.environ.get("CXX")
    if not any(map(shutil.which, [wanted] if wanted else ["g++", "clang++", "cl"])):
        raise UserError(
            f"--compile needs a C++ compiler, but there is no {wanted or 'g++'} on the PATH; "
            "install one (Debian: apt install g++), or remove the option"
        )
