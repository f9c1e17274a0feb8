"""Whether a shard that is there is the one that should be: whole, shorter, or damaged."""

from __future__ import annotations

from dataclasses import dataclass, field

from factory.common.storage import AnyPath
from factory.shards.stamp import Inspection, Stamp, inspect


@dataclass(frozen=True)
class Found:
    """A shard's file, judged.

    Attributes:
        path: Of the file.
        inspection: What was read.
        covered: How many images of its range it accounts for, failed ones included.
        fault: Why it must be drawn anew, or None.
    """

    path: AnyPath
    inspection: Inspection
    covered: int
    fault: str | None


@dataclass
class Candidates:
    """The files that may hold a shard, as far as they were judged.

    Attributes:
        best: That with most of the shard's images; None without any.
        damaged: Those that cannot be used.
        free: A name that no file has: where the shard is written. Empty where `best` is the shard.
    """

    best: Found | None = None
    damaged: list[Found] = field(default_factory=list)
    free: str = ""

    def add(self, found: Found) -> None:
        """Sort in what was found under a name."""
        if found.fault:
            self.damaged.append(found)
        elif found.covered > (self.best.covered if self.best else 0):
            self.best = found


def assess(path: AnyPath, wanted: Stamp) -> Found | None:
    """Judge a shard.

    Args:
        path: Its file.
        wanted: What it should be; `failed` and hash do not count.

    Returns:
        None where there is no file.
    """
    try:
        inspection = inspect(path)
    except FileNotFoundError:
        return None
    stamp = inspection.stamp
    if inspection.fault or stamp is None:
        return Found(path, inspection, 0, inspection.fault)
    if not stamp.is_of(wanted):
        return Found(path, inspection, 0, f"is {_place(stamp)}, not {_place(wanted)}")
    if stamp.stop > wanted.stop:
        return Found(path, inspection, 0, f"ends at image {stamp.stop}, not at {wanted.stop}")
    return Found(path, inspection, stamp.stop - stamp.start, None)


def _place(stamp: Stamp) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in stamp.settings.items())
    return f"{stamp.config} from image {stamp.start} (recipe {stamp.fingerprint[:8]}, {settings})"
