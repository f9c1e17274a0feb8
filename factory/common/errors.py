"""Errors shown to users, with their exit statuses.

`UserError` (exit status 2): the user can fix the input. `Failure` (exit status 1): the disk,
network or device failed. Every other exception is a bug and keeps its traceback. Only
`factory.common.entry` turns errors into text.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Fault:
    """One fault: what is wrong, where, and how to fix it.

    Attributes:
        message: What was found, what was expected, what to do. One line, no full stop needed.
        file: Path as the user would type it, or None.
        line: Line number from 1, or None.
        column: Column number from 1, or None.
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


def without_repeats(faults: Iterable[Fault]) -> list[Fault]:
    """Return faults with each message once: at its first place, with the other files named.

    A fault of a recipe is also one of the recipes that extend it.
    """
    places: dict[tuple[str | None, str], list[Fault]] = {}
    for fault in dict.fromkeys(faults):
        places.setdefault((fault.key, fault.message), []).append(fault)
    found = []
    for first, *others in places.values():
        files = [name for name in dict.fromkeys(one.file for one in others) if name != first.file]
        also = f" (also in {', '.join(name for name in files if name)})" if any(files) else ""
        found.append(replace(first, message=first.message + also))
    return found


class FactoryError(Exception):
    """Base of the errors that are shown as text instead of a traceback."""

    exit_status = 1


class UserError(FactoryError):
    """An error the user can fix: a recipe, an argument, a missing model, a wrong directory."""

    exit_status = 2

    def __init__(self, faults: str | Fault | Iterable[Fault]) -> None:
        """Accept one message, one fault, or all faults of a file."""
        if isinstance(faults, str):
            faults = Fault(faults)
        self.faults: tuple[Fault, ...] = (faults,) if isinstance(faults, Fault) else tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class Failure(FactoryError):
    """An error outside the input: the disk is full, a device was lost."""


class PeerFailure(Failure):
    """Another process of the same launch failed; the reason is in that one's message."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
