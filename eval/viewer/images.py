"""Images of single rows: the row group is read on demand, and the latest are kept."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import OrderedDict
from itertools import accumulate
from threading import Lock
from typing import TYPE_CHECKING, Any

from eval.report_page.dataset import reading, shrunk
from eval.report_page.manifest import Shard
from eval.viewer.rows import Rows
from factory.common.errors import UserError
from factory.common.row_images import encoded_image, image_header, read_image
from factory.data.columns import IMAGE

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image

GROUP_BYTES = 400_000_000
"""Row groups in memory; one has about 100 MB at most, if this project wrote it."""
SIDES = (160, 320)


class Images:
    """Reads the images of rows."""

    def __init__(self, rows: Rows, *, most_bytes: int = GROUP_BYTES) -> None:
        """Keep row groups of at most `most_bytes` together."""
        self._rows, self._most = rows, most_bytes
        self._shards: dict[str, tuple[list[int], tuple[Shard, ...]]] = {}
        for name in rows.starts:
            shards = tuple(rows.dataset.manifest.configs[name].shards)
            self._shards[name] = (list(accumulate((one.rows for one in shards), initial=0)), shards)
        self._ends: dict[str, list[int]] = {}
        self._groups: OrderedDict[tuple[str, int], pa.ChunkedArray] = OrderedDict()
        # One row group is read at a time: several at once only share the disk.
        self._lock = Lock()

    def encoded(self, row: int, side: int = 0) -> tuple[str, bytes]:
        """Return an image as media type and bytes; it is encoded again, whatever the row contains.

        Args:
            row: Number of the row.
            side: Longest side in pixels, one of `SIDES`; 0 keeps the size.

        Raises:
            UserError: The file or the image cannot be read, or `side` is another number.
        """
        if side and side not in SIDES:
            raise UserError(f"no images of {side} pixels; give one of {SIDES} or 0")
        image = self._read(row)
        buffer = io.BytesIO()
        if side and max(image.size) > side:
            shrunk(image, side).save(buffer, "WEBP", quality=82, method=2)
            return "image/webp", buffer.getvalue()
        # Without loss: small images are enlarged on the screen.
        image.save(buffer, "PNG", compress_level=1)
        return "image/png", buffer.getvalue()

    def stored(self, row: int) -> tuple[str, int, int, bytes]:
        """Return an image as it is stored: its format by Pillow's name, width, height and bytes.

        It is not decoded.

        Raises:
            UserError: The file cannot be read, or its image is missing or of another format.
        """
        cell, where = self._found(row)
        data = encoded_image(cell, where=where)
        return *image_header(cell, where=where), data

    def _read(self, row: int) -> Image:
        cell, where = self._found(row)
        return read_image(cell, where=where)

    def _found(self, row: int) -> tuple[Any, str]:
        """Return the cell of a row, and its place for messages."""
        config, place = self._rows.config_of(row)
        starts, shards = self._shards[config]
        number = bisect_right(starts, place) - 1
        shard, inner = shards[number], place - starts[number]
        with self._lock:
            cell = self._cell(shard, inner)
        return cell, f"{self._rows.dataset.out}/{shard.file}: row {inner}"

    def _cell(self, shard: Shard, row: int) -> Any:
        ends = self._ends.get(shard.file)
        if ends is None:
            with reading(self._rows.dataset.file(shard)) as file:
                groups = [file.metadata.row_group(one) for one in range(file.num_row_groups)]
            ends = self._ends[shard.file] = list(accumulate(one.num_rows for one in groups))
        group = bisect_right(ends, row)
        column = self._group(shard, group)
        return column[row - (ends[group - 1] if group else 0)].as_py()

    def _group(self, shard: Shard, group: int) -> pa.ChunkedArray:
        key = (shard.file, group)
        if key not in self._groups:
            with reading(self._rows.dataset.file(shard)) as file:
                if IMAGE not in file.schema_arrow.names:
                    raise UserError(f"{shard.file}: has no column {IMAGE}")
                self._groups[key] = file.read_row_group(group, columns=[IMAGE])[IMAGE]
        self._groups.move_to_end(key)
        while len(self._groups) > 1 and sum(map(_size, self._groups.values())) > self._most:
            self._groups.popitem(last=False)
        return self._groups[key]


def _size(column: pa.ChunkedArray) -> int:
    return int(column.nbytes)
