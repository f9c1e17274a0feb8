"""Whether a shard that is there is the one that should be: whole, shorter, or damaged."""

from __future__ import annotations

from dataclasses import dataclass

from factory.manifest import ShardEntry
from factory.stamp import Inspection, Stamp, inspect
from factory.storage import AnyPath


@dataclass(frozen=True)
class Found:
    """A shard's file, judged.

    Attributes:
        inspection: What was read.
        covered: How many images of its range it accounts for, failed ones included.
        fault: Why it must be drawn anew, or None.
    """

    inspection: Inspection
    covered: int
    fault: str | None


def assess(path: AnyPath, wanted: Stamp, *, known: ShardEntry | None) -> Found | None:
    """Judge a shard.

    Args:
        path: Its file.
        wanted: What it should be; `failed` and hash do not count.
        known: What the manifest says of it: the only word on shards that carry no stamp.

    Returns:
        None where there is no file.
    """
    try:
        inspection = inspect(path)
    except FileNotFoundError:
        return None
    stamp = inspection.stamp
    if inspection.fault:
        return Found(inspection, 0, inspection.fault)
    if stamp is None:
        if known is None or known.sha256 != inspection.sha256:
            return Found(inspection, 0, "has other bytes than the manifest names")
        return Found(inspection, inspection.rows, None)
    if not stamp.is_of(wanted):
        return Found(inspection, 0, f"is {_place(stamp)}, not {_place(wanted)}")
    if stamp.stop > wanted.stop:
        return Found(inspection, 0, f"ends at image {stamp.stop}, not at {wanted.stop}")
    return Found(inspection, stamp.stop - stamp.start, None)


def _place(stamp: Stamp) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in stamp.settings.items())
    return f"{stamp.config} from image {stamp.start} (recipe {stamp.fingerprint[:8]}, {settings})"
