"""The weight files of LoRA adapters: found on this machine, and pinned by their bytes."""

import hashlib
from pathlib import Path

from factory.common.errors import UserError

_SUFFIX = ".safetensors"


def adapter_file(path: Path, weight_name: str | None) -> Path:
    """Return the local weights file of an adapter.

    Args:
        path: A file or a directory.
        weight_name: File name in the directory; None if it has only one.

    Raises:
        UserError: There is no such file, or more than one.
    """
    if path.is_file():
        return path
    if weight_name is not None:
        if (path / weight_name).is_file():
            return path / weight_name
        raise UserError(f"{path} has no file {weight_name}; correct `weight_name`")
    found = sorted(path.glob(f"*{_SUFFIX}"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(one.name for one in found) or f"no *{_SUFFIX} file"
    raise UserError(f"{path} has {names}; name one file with `weight_name`")


def file_revision(path: Path) -> str:
    """Return the first 40 hexadecimal digits of a file's SHA-256, as its revision."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:40]
