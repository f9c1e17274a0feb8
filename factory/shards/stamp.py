"""Describe a shard in its own file, so that damage and mix-ups are detected without other files.

The footer of each Parquet file has the key `factory`: config and image range, failed images, and
the SHA-256 of the whole file, computed with zeros in place of the hash. The stamp becomes visible
with the shard itself, so no shard exists without its hash.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

from factory.common.frozen import Frozen
from factory.common.storage import AnyPath
from factory.common.thrift import Incomplete, read_text
from factory.shards.manifest import FailedImage, ShardEntry

KEY = b"factory"
# The key and the type of its value, a text, in Thrift's compact protocol.
_MARK = b"\x18\x07" + KEY + b"\x18"
_ZEROS = "0" * 64
_MAGIC = b"PAR1"
_CHUNK_BYTES = 1 << 20
_UNSTAMPED = "carries no stamp, so no build wrote it"


class Stamp(Frozen):
    """Description of a shard.

    Attributes:
        config: Its config.
        fingerprint: Fingerprint of the config's recipe.
        settings: Build settings that affect bytes.
        start: First image of its range.
        stop: One past the last.
        failed: Images of the range without a row.
        sha256: Hash of the file with zeros here; zeros until it is written.
    """

    config: str
    fingerprint: str
    settings: dict[str, int | str]
    start: int
    stop: int
    failed: tuple[FailedImage, ...] = ()
    sha256: str = _ZEROS

    def unsealed(self) -> Stamp:
        """Return the stamp with a hash of zeros, for a file that is being written."""
        return self.model_copy(update={"sha256": _ZEROS})

    def is_of(self, other: Stamp) -> bool:
        """Return whether both stamps are of the same shard, complete or not."""
        return (self.config, self.fingerprint, self.settings, self.start) == (
            other.config,
            other.fingerprint,
            other.settings,
            other.start,
        )


@dataclass(frozen=True)
class Inspection:
    """Content of a shard's file.

    Attributes:
        sha256: Hash of the file's bytes.
        rows: Number of rows in its footer; 0 if the footer cannot be read.
        stamp: Its stamp; None if it has none or cannot be read, which is a fault.
        fault: What is wrong with the file, or None.
        columns: Its columns, in order.
    """

    sha256: str
    rows: int
    stamp: Stamp | None
    fault: str | None
    columns: tuple[str, ...] = ()

    def entry(self, file: str) -> ShardEntry:
        """Return its manifest entry; `file` is relative to the dataset directory."""
        failed = self.stamp.failed if self.stamp else ()
        return ShardEntry(file=file, rows=self.rows, sha256=self.sha256, failed=failed)


def seal(file: io.BytesIO) -> str:
    """Write the hash into the footer of a Parquet file whose stamp has zeros.

    Returns:
        The SHA-256 of the whole file afterwards.
    """
    with file.getbuffer() as data:
        footer = bytes(data[_footer_start(file, len(data)) :])
        place = len(data) - len(footer) + footer.rindex(_ZEROS.encode())
        # Nearly all bytes precede the hash, so they are read once for both.
        head = hashlib.sha256(data[:place])
        whole = head.copy()
        whole.update(data[place:])
        digest = whole.hexdigest().encode()
        data[place : place + len(digest)] = digest
        head.update(data[place:])
    return head.hexdigest()


def inspect(path: AnyPath) -> Inspection:
    """Read a shard's bytes once and check that they are as written.

    Raises:
        OSError: It cannot be read, or does not exist.
    """
    with path.open("rb") as file:
        return inspect_file(file)


def inspect_file(file: Any) -> Inspection:
    """Inspect a shard that is open for reading; see `inspect`."""
    head = hashlib.sha256()
    left = _footer_start(file, file.seek(0, io.SEEK_END))
    file.seek(0)
    while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
        head.update(chunk)
        left -= len(chunk)
    footer, raw = file.read(), head.copy()
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


def num_failed(path: AnyPath) -> int:
    """Return the number of failed images in a shard's stamp, unchecked.

    Finding the stamp takes a fraction of the time in which pyarrow reads the footer.

    Raises:
        ValueError: As `read_stamp`.
        OSError: It cannot be read, or does not exist.
    """
    with path.open("rb") as file:
        start = _footer_start(file, file.seek(0, io.SEEK_END))
        file.seek(start)
        footer = file.read() if start else b""
    if footer.count(_MARK) != 1:
        # No stamp, or values that look like one.
        return len(read_stamp(path).failed)
    try:
        text, _ = read_text(footer, footer.index(_MARK) + len(_MARK))
        return len(Stamp.model_validate_json(text).failed)
    except Incomplete:
        raise ValueError(f"{path}: {_UNSTAMPED}") from None


def _footer_start(file: Any, size: int) -> int:
    """Return the start of the footer; 0 (all is footer) if it is unknown."""
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
        # Reading the footer does not read the pages before it: offsets are only followed for rows.
        metadata = pyarrow.parquet.read_metadata(pyarrow.BufferReader(_MAGIC + footer))
        stamp = _stamp(metadata)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        words = (str(error).splitlines() or ["unreadable"])[0]
        return Inspection(sha256, 0, None, f"is not a complete Parquet file ({words})")
    columns = tuple(metadata.schema.to_arrow_schema().names)
    if stamp is None:
        return Inspection(sha256, metadata.num_rows, None, _UNSTAMPED, columns)
    digest = stamp.sha256.encode()
    head.update(footer.replace(digest, _ZEROS.encode()))
    fault = None
    if head.hexdigest() != stamp.sha256:
        fault = "has been changed since it was written"
    elif metadata.num_rows + len(stamp.failed) != stamp.stop - stamp.start:
        fault = "has a different number of rows than its stamp"
    return Inspection(sha256, metadata.num_rows, stamp, fault, columns)


def _stamp(metadata: Any) -> Stamp | None:
    text = (metadata.metadata or {}).get(KEY)
    return None if text is None else Stamp.model_validate_json(text)
