"""Hash whole files, and write files of runs atomically: under a temporary name, then renamed."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a new file, then replace `path` with it in one step.

    Args:
        path: A link at this path is replaced, not followed.
        write: Receives an unused temporary name.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    # Left by a killed process; or, in an untrusted folder, a link to a file of the user.
    temporary.unlink(missing_ok=True)
    try:
        write(temporary)
        # Windows syncs only files that are open for writing.
        with temporary.open("r+b") as stream:
            os.fsync(stream.fileno())
        # safetensors writes files that only their owner may read.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Replace a text file in one step."""
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _umask() -> int:
    """Return the process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
