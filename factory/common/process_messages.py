"""The last message of a process, for the process that started it.

Of several processes that end together, each has something to say, and one knows the reason. So each
leaves its message in a folder, and the process that started them prints the first reason.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from factory.common.redaction import for_terminal

FOLDER = "DATA_FACTORY_LAST_WORDS"
"""Environment variable that names the folder."""


@dataclass(frozen=True)
class LastWords:
    """How a process ended.

    Attributes:
        status: Exit status.
        text: Message for the user; empty if there is nothing to say.
        follows: Whether it ended only because another process did, or received a signal.
        at_s: Time in seconds since 1970.
    """

    status: int
    text: str = ""
    follows: bool = False
    at_s: float = 0.0


def is_read_by_another() -> bool:
    """Return whether the process that started this one prints its last message."""
    return bool(os.environ.get(FOLDER))


def leave(last: LastWords) -> bool:
    """Leave a message for the process that started this one; return whether that was possible."""
    if not is_read_by_another():
        return False
    found = {**asdict(last), "text": for_terminal(last.text), "at_s": time.time()}
    path = Path(os.environ[FOLDER]) / f"{os.getpid()}.json"
    try:
        path.write_text(json.dumps(found), encoding="utf-8")
    except OSError:
        return False
    return True


def read_all(folder: Path) -> list[LastWords]:
    """Return the messages in a folder: reasons first, then by time."""
    found = [
        LastWords(**json.loads(path.read_text(encoding="utf-8"))) for path in folder.glob("*.json")
    ]
    return sorted(found, key=lambda one: (one.follows, one.at_s))
