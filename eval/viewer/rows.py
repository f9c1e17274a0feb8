"""The rows of all configs as one table in memory, without images."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval.report_page.dataset import Dataset, open_report_dataset
from factory.common.errors import UserError, first_line
from factory.data.columns import INDEX, LABEL, RECIPE
from factory.data.row_filter import matching_rows

if TYPE_CHECKING:
    import pyarrow as pa

RowNumbers = NDArray[np.int64]


# Where the names of Arrow and of datasets differ.
_TYPES = {"halffloat": "float16", "float": "float32", "double": "float64"}


@dataclass(frozen=True)
class Feature:
    """Type of a column as of `datasets`, whose import takes seconds; `names` of a class label."""

    dtype: str
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of all stored configs, one after another; a row's number is its place here.

    Attributes:
        dataset: The dataset.
        table: All columns but the images.
        starts: First row number of each config, in order.
    """

    dataset: Dataset
    table: pa.Table
    starts: dict[str, int]
    _orders: dict[tuple[str, bool], RowNumbers] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of rows."""
        return int(self.table.num_rows)

    @cached_property
    def features(self) -> dict[str, Any]:
        """Columns with their types, as `train --filter` sees them."""
        found = {one.name: Feature(_TYPES.get(str(one.type), str(one.type))) for one in self.schema}
        return {**found, LABEL: Feature("int64", tuple(self.dataset.labels))}

    @property
    def schema(self) -> pa.Schema:
        """Columns of the table."""
        return self.table.schema

    @cached_property
    def sortable(self) -> list[str]:
        """Columns with numbers, texts, or true and false."""
        import pyarrow.types as kinds

        plain = (kinds.is_integer, kinds.is_floating, kinds.is_string, kinds.is_boolean)
        return [one.name for one in self.schema if any(is_one(one.type) for is_one in plain)]

    def configs(self) -> dict[str, int]:
        """Return the number of rows of each config, unions included."""
        return {name: len(self.of_config(name)) for name in self.dataset.names if self._parts(name)}

    def _parts(self, name: str) -> list[str]:
        entry = self.dataset.manifest.configs[name]
        members = entry.members if entry.kind == "union" else [name]
        return [one for one in members if one in self.starts]

    def of_config(self, name: str) -> RowNumbers:
        """Return the rows of a config, those of its members for a union; "" for all rows.

        Raises:
            UserError: There is no such config.
        """
        if not name:
            return np.arange(self.count)
        if name not in self.dataset.manifest.configs:
            raise UserError(f"no config {name[:100]!r}; there are {', '.join(self.starts)}")
        ranges = [
            np.arange(self.starts[part], self.starts[part] + self.dataset.rows(part))
            for part in self._parts(name)
        ]
        return np.concatenate([np.empty(0, np.int64), *ranges])

    def matching(self, config: str, expression: str) -> RowNumbers:
        """Return the rows of a config that match a filter, ascending; "" is all configs or rows.

        Raises:
            UserError: There is no such config, or the filter is invalid.
        """
        chosen = self.of_config(config)
        if not expression:
            return chosen
        matching = matching_rows(expression, self.features, self.table.select)
        return np.intersect1d(chosen, matching, assume_unique=True) if config else matching

    def config_of(self, row: int) -> tuple[str, int]:
        """Return the stored config of a row, and the row's place in it."""
        name = next(name for name in reversed(self.starts) if self.starts[name] <= row)
        return name, row - self.starts[name]

    def numbers(self, column: str) -> NDArray[Any]:
        """Return a column of integers, floats or booleans; nulls become NaN."""
        found: NDArray[Any] = self.table[column].to_numpy()
        return found

    def order(self, column: str, *, descending: bool) -> RowNumbers:
        """Return all rows in the order of a column, nulls last, equal values in stored order."""
        import pyarrow.compute as pc

        key = (column, descending)
        if key not in self._orders:
            values = self.table[column]
            if str(values.type) == "string":
                # A few distinct texts are sorted instead of a million.
                values = values.combine_chunks().dictionary_encode()
                ranks = pc.rank(values.dictionary, tiebreaker="dense")
                values = ranks.take(values.indices)
            direction = "descending" if descending else "ascending"
            found = pc.sort_indices(values, sort_keys=[("", direction)])
            self._orders[key] = found.to_numpy().astype(np.int64)
        return self._orders[key]

    def at(self, rows: RowNumbers) -> list[dict[str, Any]]:
        """Return some rows as dictionaries."""
        found: list[dict[str, Any]] = self.table.take(rows).to_pylist()
        return found


def open_rows(out: Path) -> Rows:
    """Read the columns of a dataset.

    Raises:
        UserError: A file is missing or damaged, or rows have no label, recipe or index.
    """
    import pyarrow as pa

    dataset = open_report_dataset(out)
    tables = {name: dataset.columns(name) for name in dataset.stored}
    try:
        table = pa.concat_tables(tables.values(), promote_options="default").combine_chunks()
    except pa.ArrowException as error:
        raise UserError(f"{out}: configs differ in their columns ({first_line(error)})") from None
    for name, kind in {LABEL: "int64", INDEX: "int64", RECIPE: "string"}.items():
        found = table.schema.field(name).type if name in table.column_names else "missing"
        if str(found) != kind:
            raise UserError(
                f"{out}: column {name} is {found}, expected {kind}; only datasets of "
                "data-factory can be viewed"
            )
    sizes = [one.num_rows for one in tables.values()]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).tolist()
    return Rows(dataset, table, dict(zip(tables, starts, strict=True)))
