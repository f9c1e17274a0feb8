"""Which rows the page shows, and in which order."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from eval.report_page.duplicates import HASHES
from eval.viewer.marks import Marks
from eval.viewer.rows import RowNumbers, Rows
from factory.common.errors import UserError
from factory.common.program import command
from factory.data.columns import DIFFERENCE_HASH, EMBEDDING_HASH

_KEPT = 16


@dataclass(frozen=True)
class Query:
    """A question of the page.

    Attributes:
        config: Name of a config; empty for all.
        text: Filter typed by the reader, as for `train --filter`.
        clauses: Filter of each facet's selected bars, by column.
        marks: `marked`, `unmarked`, or empty for all rows.
        sort: Column; empty for the stored order.
        descending: Whether the largest values come first.
        like: Row whose most similar images come first; replaces `sort`.
    """

    config: str = ""
    text: str = ""
    clauses: tuple[tuple[str, str], ...] = ()
    marks: str = ""
    sort: str = ""
    descending: bool = False
    like: int | None = None

    @property
    def expression(self) -> str:
        """The whole filter, as for `train --filter`; empty without one."""
        parts = [self.text.strip(), *(clause for _, clause in self.clauses)]
        given = [part for part in parts if part]
        return given[0] if len(given) == 1 else " and ".join(f"({part})" for part in given)

    def without(self, column: str) -> Query:
        """Return the query without the clause of one facet, in stored order."""
        clauses = tuple(one for one in self.clauses if one[0] != column)
        return replace(self, clauses=clauses, sort="", descending=False, like=None)


@dataclass(frozen=True)
class Selector:
    """Answers queries; keeps the latest answers."""

    rows: Rows
    marks: Marks
    _answers: dict[tuple[Query, int], RowNumbers] = field(default_factory=dict)

    def select(self, query: Query) -> RowNumbers:
        """Return the rows of a query, in order.

        Raises:
            UserError: The filter is invalid, or a column or config does not exist.
        """
        key = (query, self.marks.version if query.marks else 0)
        found = self._answers.get(key)
        if found is None:
            found = self._ordered(query)
            for old in list(self._answers)[: 1 - _KEPT]:
                self._answers.pop(old, None)
            self._answers[key] = found
        return found

    def _ordered(self, query: Query) -> RowNumbers:
        if query.like is None and not query.sort:
            return self._matching(query)
        plain = replace(query, sort="", descending=False, like=None)
        if query.like is not None:
            chosen = self.select(plain)
            return chosen[np.argsort(self.distances(query.like, chosen), kind="stable")]
        if query.sort not in self.rows.sortable:
            raise UserError(f"cannot sort by {query.sort[:100]!r}")
        order = self.rows.order(query.sort, descending=query.descending)
        is_chosen = np.zeros(self.rows.count, bool)
        is_chosen[self.select(plain)] = True
        return order[is_chosen[order]]

    def _matching(self, query: Query) -> RowNumbers:
        chosen = self.rows.matching(query.config, query.expression)
        if query.marks:
            is_marked = self.marks.mask()[chosen]
            chosen = chosen[is_marked if query.marks == "marked" else ~is_marked]
        return chosen

    def distances(self, row: int, others: RowNumbers) -> RowNumbers:
        """Return in how many of 64 hash bits other rows differ from a row; 65 without a hash.

        Raises:
            UserError: The dataset, or this row, has no hashes.
        """
        column = self._hashes(row)
        if column is None:
            gate = command(f"gate {shlex.quote(str(self.rows.dataset.out))} --near-duplicates")
            raise UserError(
                f"this image has neither {' nor '.join(HASHES)}; `{gate}` writes "
                f"{DIFFERENCE_HASH}, and with `--embedding MODEL` instead {EMBEDDING_HASH}; then "
                "start the viewer again"
            )
        hashes = column.fill_null(0).to_numpy().view(np.uint64)
        bits = np.bitwise_count(hashes[others] ^ hashes[row]).astype(np.int64)
        return np.where(column.is_valid().to_numpy()[others], bits, 65)

    def _hashes(self, row: int) -> Any:
        """Return the column of hashes that a row is compared by, its first; None if it has none."""
        table = self.rows.table
        found = (table[name] for name in HASHES if name in table.column_names)
        kinds = (one for one in found if str(one.type) == "int64" and one[row].is_valid)
        return next(kinds, None)
