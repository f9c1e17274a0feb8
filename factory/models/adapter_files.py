"""The weight files of LoRA adapters: found on this machine, and pinned by their bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from factory.common.errors import UserError

_SUFFIX = ".safetensors"


def adapter_file(path: Path, weight_name: str | None) -> Path:
    """Return the weights of an adapter on this machine.

    Args:
        path: A file, or a directory.
        weight_name: The file in the directory; None for the only one.

    Raises:
        UserError: there is none, or more than one to choose from.
    """
    if path.is_file():
        return path
    if weight_name is not None:
        if (path / weight_name).is_file():
            return path / weight_name
        raise UserError(f"{path} holds no {weight_name}; correct `weight_name`")
    found = sorted(path.glob(f"*{_SUFFIX}"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(one.name for one in found) or f"no *{_SUFFIX} file"
    raise UserError(f"{path} holds {names}; name one with `weight_name`")


def file_revision(path: Path) -> str:
    """Return what pins a file: 40 digits of the hash of its bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:40]
