"""Examine an existing shard: complete, shorter than planned, or damaged."""

from dataclasses import dataclass, field

from factory.common.storage import AnyPath
from factory.shards.stamp import Inspection, Stamp, inspect


@dataclass(frozen=True)
class Found:
    """An examined shard file.

    Attributes:
        path: Path of the file.
        inspection: Its content.
        covered: Number of images of its range that it accounts for, failed ones included.
        fault: Why it must be generated again, or None.
    """

    path: AnyPath
    inspection: Inspection
    covered: int
    fault: str | None


@dataclass
class Candidates:
    """The examined files that may contain a shard.

    Attributes:
        best: The file with most of the shard's images; None without any.
        damaged: Files that cannot be used.
        free: Unused name for the shard; empty if `best` is the complete shard.
    """

    best: Found | None = None
    damaged: list[Found] = field(default_factory=list)
    free: str = ""

    def add(self, found: Found) -> None:
        """Add an examined file."""
        if found.fault:
            self.damaged.append(found)
        elif found.covered > (self.best.covered if self.best else 0):
            self.best = found


def assess(path: AnyPath, wanted: Stamp) -> Found | None:
    """Examine a shard file.

    Returns:
        None if the file does not exist.
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
