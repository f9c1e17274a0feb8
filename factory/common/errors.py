"""The errors that users see, and the exit status each one means.

`UserError` is what the user can mend (exit status 2), `Failure` is what the machine did (exit
status 1). Everything else that escapes is a bug and keeps its traceback. Only
`factory.common.entry` turns these into text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, where it is, and what to do about it.

    Attributes:
        message: What was found, what was expected, what to do. One line, no full stop needed.
        file: Path as the user would type it, or None.
        line: From 1, or None.
        column: From 1, or None.
        key: Dotted path inside the file, e.g. `sampling.guidance_scale`, or None.
    """

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return ": ".join(part for part in (place, self.key, self.message) if part)


class FactoryError(Exception):
    """Base of the errors that are shown as text instead of a traceback."""

    exit_status = 1


class UserError(FactoryError):
    """Something the user can mend: a recipe, an argument, a missing model, a wrong directory."""

    exit_status = 2

    def __init__(self, faults: str | Fault | Iterable[Fault]) -> None:
        """Take one message, one fault, or all faults of a file at once."""
        if isinstance(faults, str):
            faults = Fault(faults)
        self.faults: tuple[Fault, ...] = (faults,) if isinstance(faults, Fault) else tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class Failure(FactoryError):
    """Something went wrong that no recipe can mend: the disk is full, a device was lost."""

    exit_status = 1


def first_line(error: BaseException) -> str:
    """Return what a library's error says in its first line, or the error's name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
