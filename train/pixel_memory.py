"""Choose between decoding all images into memory and reading them from files in each epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.errors import UserError
from factory.common.resources import free_memory
from factory.common.text import plural, size
from train.config import Pixels
from train.run_folder import CONFIG, read_config

if TYPE_CHECKING:
    from accelerate import Accelerator

_GB = 1e9
_SHARE = 0.5


def check_memory(memory: float | None) -> None:
    """Check `--pixel-memory`.

    Raises:
        UserError: It is below 0.
    """
    if memory is not None and not memory >= 0:
        raise UserError(f"--pixel-memory {memory:g}: expected 0 or more")


def choose_pixels(
    out: Path,
    *,
    num_images: int,
    side: int,
    memory: float | None,
    accelerator: Accelerator,
    note: Callable[[str], None],
) -> Pixels:
    """Choose for all processes, and report the choice.

    A run that is resumed keeps its way unless the user names the memory.

    Args:
        out: The run folder.
        num_images: Images of all datasets.
        side: Height and width in pixels.
        memory: `--pixel-memory` in GB, or None.
        accelerator: The processes.
        note: Receives the line.
    """
    from accelerate.utils import broadcast_object_list

    need = num_images * side * side * 3
    # Free memory differs from process to process.
    (limit,) = broadcast_object_list([_limit(memory)])
    way: Pixels = "memory" if limit is None or need <= limit else "files"
    if memory is None and (out / CONFIG).is_file():
        way = "files" if read_config(out / CONFIG).get("pixels") == "files" else "memory"
    note(_line(way, f"{plural(num_images, 'image')} of {side} px need {size(need)}", limit, memory))
    return way


def _limit(memory: float | None) -> float | None:
    if memory is not None:
        return memory * _GB
    free = free_memory()
    return None if free is None else _SHARE * free


def _line(way: Pixels, need: str, limit: float | None, memory: float | None) -> str:
    if way == "memory":
        return f"{need} of memory and are decoded once"
    what = "half of the free memory" if memory is None else "--pixel-memory"
    shown = "" if limit is None else f" {size(limit)}"
    return (
        f"{need}, more than {what}{shown}: they are read from the files in each epoch, with crops "
        "of the original images"
    )
