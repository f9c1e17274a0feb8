"""Claims as files of the output directory, local or behind a URL."""

from __future__ import annotations

import errno
import os
from typing import Any

from factory.common.inside import CLAIMS
from factory.common.storage import AnyPath, is_local, remove_if_empty, write_bytes

FOLDER = CLAIMS


class ClaimFolder:
    """The claims of one set; see `factory.builder.claims.ClaimStore`."""

    def __init__(self, out: AnyPath) -> None:
        """Touch nothing yet.

        Args:
            out: The set's directory; made with the first claim if need be.
        """
        self._out = out
        self._folder = out / FOLDER
        self._made_out = False

    def create(self, name: str, text: str) -> bool:
        """Create a claim; return False where it exists."""
        path = self._folder / name
        if not is_local(path):
            return write_bytes(path, text.encode(), exclusive=True)
        self._made_out = self._made_out or not self._out.exists()
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return False
        except FileNotFoundError:
            # The folder went away between the two calls: another build has just ended.
            return self.create(name, text)
        try:
            self._write(descriptor, text, path)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return True

    def update(self, name: str, text: str) -> bool:
        """Rewrite a claim; return False where it is gone."""
        path: Any = self._folder / name
        if not is_local(path):
            if not path.exists():
                return False
            return write_bytes(path, text.encode())
        try:
            descriptor = os.open(path, os.O_WRONLY)
        except FileNotFoundError:
            return False
        self._write(descriptor, text, path)
        return True

    def read(self, name: str) -> str | None:
        """Return a claim's text, or None where there is none."""
        path = self._folder / name
        while True:
            try:
                return path.read_text(encoding="utf-8", errors="replace")
            except FileNotFoundError:
                return None
            except OSError as error:
                # A store's answer where the claim was rewritten while it was read.
                if is_local(path) or error.errno != errno.EBUSY:
                    raise

    def remove(self, name: str) -> None:
        """Remove a claim, if it is there."""
        (self._folder / name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Return the names of all claims."""
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir())

    def clean(self) -> None:
        """Remove the folder once no claim is left, and the directory if it was made for nothing."""
        remove_if_empty(self._folder)
        if self._made_out:
            remove_if_empty(self._out)

    @staticmethod
    def _write(descriptor: int, text: str, path: AnyPath) -> None:
        try:
            # One call, then the cut: a reader sees the old text, the new, or a mix that is neither
            # and simply counts as a change.
            os.write(descriptor, text.encode())
            os.ftruncate(descriptor, len(text.encode()))
        except OSError as error:
            error.filename = str(path)
            raise
        finally:
            os.close(descriptor)
