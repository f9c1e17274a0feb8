"""Read a generated dataset for a report: its manifest, its columns, and single images.

The dataset may come from a stranger: files outside its directory are never opened. Images are read
only for the rows that are shown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.report_page.manifest import Manifest, Shard, read_manifest
from eval.table import DEFAULT_BASE
from eval.table_rows import order_rows
from factory.common.dataset_files import MANIFEST
from factory.common.errors import UserError, first_line
from factory.common.local_paths import is_inside
from factory.common.parquet_bounds import require_bounded_file
from factory.common.program import command
from factory.common.row_images import read_image
from factory.data.columns import IMAGE

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image


@dataclass(frozen=True)
class Dataset:
    """A dataset directory and its manifest."""

    out: Path
    manifest: Manifest

    @property
    def labels(self) -> list[str]:
        """Class names."""
        return self.manifest.labels

    @property
    def names(self) -> list[str]:
        """Configs in the order of the table of scores: base, tricks, combinations."""
        return order_rows(sorted(self.manifest.configs), base=DEFAULT_BASE)

    @property
    def stored(self) -> list[str]:
        """Configs that have files of their own: all but unions."""
        return [name for name in self.names if self.manifest.configs[name].shards]

    @property
    def generated(self) -> list[str]:
        """Configs with images that no other config has."""
        return [name for name in self.stored if self.manifest.configs[name].kind == "set"]

    def rows(self, config: str) -> int:
        """Return the number of stored rows of a config, members of a union included."""
        entry = self.manifest.configs[config]
        own = sum(shard.rows for shard in entry.shards)
        known = [name for name in entry.members if name in self.manifest.configs]
        members = known if entry.kind == "union" else []
        return own + sum(
            sum(shard.rows for shard in self.manifest.configs[name].shards) for name in members
        )

    def file(self, shard: Shard) -> Path:
        """Return the path of a shard.

        Raises:
            UserError: It is missing, or outside the dataset.
        """
        path = self.out / shard.file
        if not is_inside(path, self.out):
            raise UserError(f"{self.out / MANIFEST}: {shard.file} is outside the dataset")
        if not path.is_file():
            raise UserError(
                f"{path}: file not found; `{command(f'verify {self.out}')}` lists what is missing"
            )
        return path

    @cached_property
    def _tables(self) -> dict[str, pa.Table]:
        return {}

    def columns(self, config: str) -> pa.Table:
        """Return all columns of a config's own rows but the images.

        Raises:
            UserError: A file is missing or cannot be read.
        """
        import pyarrow as pa

        if config not in self._tables:
            shards = self.manifest.configs[config].shards
            parts = [_without_images(self.file(shard), rows=shard.rows) for shard in shards]
            try:
                self._tables[config] = pa.concat_tables(parts, promote_options="default")
            except pa.ArrowException as error:
                raise UserError(
                    f"{self.out}: files of config {config} differ in their columns ({error})"
                ) from None
        return self._tables[config]

    def values(self, config: str, column: str) -> list[Any]:
        """Return a column of a config's own rows; all None if it has no such column."""
        table = self.columns(config)
        if column not in table.column_names:
            return [None] * table.num_rows
        found: list[Any] = table[column].to_pylist()
        return found

    def rows_at(self, config: str, places: Collection[int]) -> list[dict[str, Any]]:
        """Return some rows of a config as dictionaries, without images, in the order given."""
        import pyarrow as pa

        wanted = pa.array(list(places), pa.int64())
        found: list[dict[str, Any]] = self.columns(config).take(wanted).to_pylist()
        return found

    def images(
        self, config: str, places: Collection[int], *, side: int | None = None
    ) -> dict[int, Image]:
        """Return the images of some rows, by place; only their row groups are read.

        Args:
            config: A config with files of its own.
            places: Places among its rows.
            side: Longest side in pixels that images are reduced to; None: they keep their size.

        Raises:
            UserError: A file or an image cannot be read.
        """
        wanted, found, start = sorted(set(places)), {}, 0
        for shard in self.manifest.configs[config].shards:
            here = [place - start for place in wanted if start <= place < start + shard.rows]
            if here:
                with reading(self.file(shard)) as file:
                    for row, item in _cells(file, here).items():
                        where = f"{self.out}/{shard.file}: row {row}"
                        image = read_image(item, where=where)
                        found[start + row] = shrunk(image, side) if side else image
            start += shard.rows
        return found


def shrunk(image: Image, side: int) -> Image:
    """Return an image with both sides of at most `side` pixels; smaller images keep their size."""
    from PIL import Image as Pillow

    small = image.copy()
    small.thumbnail((side, side), Pillow.Resampling.LANCZOS)
    return small


def _without_images(path: Path, *, rows: int) -> pa.Table:
    with reading(path, without=IMAGE) as file:
        names = [name for name in file.schema_arrow.names if name != IMAGE]
        table = file.read(columns=names)
    if table.num_rows != rows:
        raise UserError(f"{path}: has {table.num_rows} rows; the manifest lists {rows}")
    return table


@contextmanager
def reading(path: Path, *, without: str | None = None) -> Iterator[Any]:
    """Open a Parquet file of bounded rows; report what is wrong with it in one line.

    Args:
        path: The file.
        without: Column that will not be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        require_bounded_file(path, shown=str(path), without=without)
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({first_line(error)})") from None


def _cells(file: Any, rows: list[int]) -> Mapping[int, Any]:
    """Return the image cells of some rows of a file."""
    found: dict[int, Any] = {}
    start = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        here = [row - start for row in rows if start <= row < start + count]
        if here:
            column = file.read_row_group(group, columns=[IMAGE])[IMAGE]
            found |= {start + row: column[row].as_py() for row in here}
        start += count
    return found


def open_report_dataset(out: Path) -> Dataset:
    """Open a dataset for a report or the viewer.

    Raises:
        UserError: See `read_manifest`; or it has no finished config.
    """
    found = Dataset(out, read_manifest(out))
    if not found.stored:
        raise UserError(
            f"{out}: no config is finished, so there are no images to show; resume the build, "
            f"then check it with `{command(f'status {out}')}`"
        )
    return found
