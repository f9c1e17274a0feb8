"""What a shard says of itself, so that damage and mix-ups are told without any other file.

The footer of each Parquet file carries, under the key `factory`, which images of which set it
holds, which of them failed, and the SHA-256 of the whole file, computed with zeros in the place of
the hash. The stamp becomes visible with the shard's own rename: there is no moment at which a shard
exists and its hash does not.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from factory.common.storage import AnyPath
from factory.shards.manifest import FailedImage, ShardEntry

KEY = b"factory"
_ZEROS = "0" * 64
_MAGIC = b"PAR1"
_CHUNK_BYTES = 1 << 20
_UNSTAMPED = "carries no stamp, so no build wrote it"


class Stamp(BaseModel):
    """What a shard is.

    Attributes:
        config: The set or share it belongs to.
        fingerprint: Of the config's recipe.
        settings: Build settings that decide bytes.
        start: First image of its range.
        stop: One past the last.
        failed: Images of the range that have no row.
        sha256: Of the file with zeros here; zeros until it is written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: str
    fingerprint: str
    settings: dict[str, int | str]
    start: int
    stop: int
    failed: tuple[FailedImage, ...] = ()
    sha256: str = _ZEROS

    def unsealed(self) -> Stamp:
        """Return the stamp with zeros for a hash, as it goes into a file that is being written."""
        return self.model_copy(update={"sha256": _ZEROS})

    def is_of(self, other: Stamp) -> bool:
        """Whether both stand for the same place of the same set, whole or not."""
        return (self.config, self.fingerprint, self.settings, self.start) == (
            other.config,
            other.fingerprint,
            other.settings,
            other.start,
        )


@dataclass(frozen=True)
class Inspection:
    """What is found in a shard's file.

    Attributes:
        sha256: Of its bytes.
        rows: That its footer speaks of; 0 where it cannot be read.
        stamp: Its own description; None where it has none or it cannot be read, which is a fault.
        fault: What is wrong with it, or None.
        columns: Of its rows, in order.
    """

    sha256: str
    rows: int
    stamp: Stamp | None
    fault: str | None
    columns: tuple[str, ...] = ()

    def entry(self, file: str) -> ShardEntry:
        """Return what the manifest says of it; `file` is relative to the set's directory."""
        failed = self.stamp.failed if self.stamp else ()
        return ShardEntry(file=file, rows=self.rows, sha256=self.sha256, failed=failed)


def sealed(data: bytes) -> bytes:
    """Write the hash into the footer of a Parquet file whose stamp holds zeros.

    Args:
        data: The whole file.
    """
    place = data.rindex(_ZEROS.encode())
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[:place] + digest + data[place + len(digest) :]


def inspect(path: AnyPath) -> Inspection:
    """Read a shard's bytes once and say whether they are those that were written.

    Raises:
        OSError: it cannot be read, or is not there.
    """
    raw, head = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        footer_start = _footer_start(file, size)
        file.seek(0)
        left = footer_start
        while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
            raw.update(chunk)
            head.update(chunk)
            left -= len(chunk)
        footer = file.read()
    raw.update(footer)
    return _judge(raw.hexdigest(), head, footer)


def read_stamp(path: AnyPath) -> Stamp:
    """Return a shard's stamp from its footer, unchecked.

    Raises:
        ValueError: The file has no stamp, or is not a Parquet file.
    """
    import pyarrow.parquet

    with path.open("rb") as file:
        metadata = pyarrow.parquet.read_metadata(file)
    stamp = _stamp(metadata)
    if stamp is None:
        raise ValueError(f"{path}: {_UNSTAMPED}")
    return stamp


def _footer_start(file: Any, size: int) -> int:
    """Return where the footer begins; 0, so that all counts as footer, where that is not told."""
    if size < 12:
        return 0
    file.seek(size - 8)
    tail = file.read(8)
    start = size - 8 - int.from_bytes(tail[:4], "little")
    return start if tail[4:] == _MAGIC and start >= 4 else 0


def _judge(sha256: str, head: Any, footer: bytes) -> Inspection:
    import pyarrow
    import pyarrow.parquet

    try:
        # A footer is read without the pages before it: offsets are only followed for rows.
        metadata = pyarrow.parquet.read_metadata(pyarrow.BufferReader(_MAGIC + footer))
        stamp = _stamp(metadata)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        words = (str(error).splitlines() or ["unreadable"])[0]
        return Inspection(sha256, 0, None, f"is no whole Parquet file ({words})")
    columns = tuple(metadata.schema.to_arrow_schema().names)
    if stamp is None:
        return Inspection(sha256, metadata.num_rows, None, _UNSTAMPED, columns)
    digest = stamp.sha256.encode()
    head.update(footer.replace(digest, _ZEROS.encode()))
    fault = None
    if head.hexdigest() != stamp.sha256:
        fault = "has other bytes than were written"
    elif metadata.num_rows + len(stamp.failed) != stamp.stop - stamp.start:
        fault = "has another number of rows than it says"
    return Inspection(sha256, metadata.num_rows, stamp, fault, columns)


def _stamp(metadata: Any) -> Stamp | None:
    text = (metadata.metadata or {}).get(KEY)
    return None if text is None else Stamp.model_validate_json(text)
