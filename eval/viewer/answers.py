"""The documents that the page asks for; they contain texts and numbers, no markup and no paths."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from eval.report_page import text
from eval.report_page.duplicates import HASHES
from eval.viewer.compare import beside, same_seed
from eval.viewer.facets import Facet, make_facets
from eval.viewer.images import Images
from eval.viewer.marks import Marks
from eval.viewer.rows import Rows, open_rows
from eval.viewer.selection import Query, Selector
from factory.common.dataset_files import MARKS
from factory.common.errors import UserError
from factory.common.program import command
from factory.common.untrusted_files import parse_json
from factory.data.columns import INDEX, LABEL, PROMPT, RECIPE

PAGE_ROWS, MOST_ROWS, MOST_BESIDE = 60, 300, 5
Document = dict[str, Any]


@dataclass(frozen=True)
class Viewer:
    """A dataset that is open in the page."""

    rows: Rows
    marks: Marks
    images: Images
    selector: Selector

    @cached_property
    def facets(self) -> list[Facet]:
        """Facets of the columns, computed once."""
        return make_facets(self.rows)

    def about(self) -> Document:
        """Return what stays the same: configs, columns, facets."""
        dataset = self.rows.dataset
        unfinished = [name for name, one in dataset.manifest.configs.items() if not one.complete]
        return {
            "title": text.name(dataset.out.resolve().name),
            "rows": self.rows.count,
            "configs": self.rows.configs(),
            "most_beside": MOST_BESIDE,
            "unfinished": unfinished,
            "columns": [text.name(name) for name in self.rows.table.column_names],
            "sortable": self.rows.sortable,
            "facets": [
                {
                    "column": one.column,
                    "range": one.is_range,
                    "names": one.names,
                    "clauses": one.clauses,
                    "rest": one.rest,
                }
                for one in self.facets
            ],
            "similar": any(name in self.rows.table.column_names for name in HASHES),
            "similar_command": command(f"gate {_quoted(dataset.out)} --near-duplicates"),
            "marked": len(self.marks.marks),
            "marks_file": str(self.marks.path),
            "marks_command": command(
                f"gate {_quoted(dataset.out)} --marks {_quoted(self.marks.path)}"
            ),
        }

    def page(self, asked: Mapping[str, str]) -> Document:
        """Return a part of a query's rows, with rows of other configs beside them if asked."""
        query = query_of(asked)
        chosen = self.selector.select(query)
        start = _number(asked.get("start", "0"))
        size = min(_number(asked.get("size", str(PAGE_ROWS))), MOST_ROWS)
        shown = chosen[start : start + size].tolist()
        others = [name for name in asked.get("beside", "").split(",") if name]
        if others and (not query.config or len(others) > MOST_BESIDE):
            raise UserError(f"choose one config, and up to {MOST_BESIDE} others beside it")
        found: Document = {"total": len(chosen), "filter": _filter_words(query)}
        if others:
            pairs = zip(shown, beside(self.rows, shown, query.config, others), strict=True)
            lines = [[row, *line] for row, line in pairs]
            found["lines"] = lines
            found["same_seed"] = [same_seed(self.rows, line) for line in lines]
            shown = [row for line in lines for row in line if row >= 0]
        found["rows"] = self._described(shown)
        if query.like is not None:
            distances = self.selector.distances(query.like, np.asarray(shown, np.int64))
            for row, distance in zip(found["rows"], distances.tolist(), strict=True):
                row["distance"] = distance
        return found

    def _described(self, shown: list[int]) -> list[Document]:
        """Return rows as texts."""
        names = self.rows.table.column_names
        rows = self.rows.at(np.asarray(shown, np.int64))
        return [
            self._row(number, row, [text.value(row[name]) for name in names])
            for number, row in zip(shown, rows, strict=True)
        ]

    def _row(self, number: int, row: Document, values: list[str]) -> Document:
        config, _ = self.rows.config_of(number)
        recipe, index, label = row[RECIPE], row[INDEX], row[LABEL]
        labels = self.rows.dataset.labels
        is_class = label is not None and 0 <= label < len(labels)
        name = text.name(labels[label] if is_class else f"label {label}")
        prompt = text.value(row.get(PROMPT) or "")
        # A copy in an equal share is generated again by the config that it was copied from.
        source = recipe if recipe in self.rows.dataset.manifest.configs else config
        out = _quoted(self.rows.dataset.out)
        return {
            "row": number,
            "config": config,
            "label": name,
            "index": index,
            "alt": f"{name}, image {index} of {config}: {prompt}",
            "values": values,
            "marked": self.marks.is_marked(recipe, index),
            "replay": command(f"replay {out} --config {source} --index {index}"),
        }

    def counts(self, asked: Mapping[str, str]) -> Document:
        """Return the number of rows of a query in each bar of each facet.

        The clause of a facet does not change its own bars, so other bars can be added to it.
        """
        query = query_of(asked)
        return {
            "counts": [
                one.counts(self.selector.select(query.without(one.column))) for one in self.facets
            ]
        }

    def mark(self, asked: Document) -> Document:
        """Mark or unmark rows."""
        rows, marked = asked.get("rows"), asked.get("marked")
        if not isinstance(rows, list) or not isinstance(marked, bool):
            raise UserError("expected rows and marked")
        return {"marked": self.marks.change([self.row(one) for one in rows], marked=marked)}

    def row(self, number: Any) -> int:
        """Return a row number that exists.

        Raises:
            UserError: It does not.
        """
        found = _number(str(number))
        if found >= self.rows.count:
            raise UserError(f"no row {found}; there are {self.rows.count:,}")
        return found

    def documents(self) -> dict[str, Callable[[Mapping[str, str]], Document]]:
        """Return the documents by their name in addresses."""
        return {"about": lambda _: self.about(), "rows": self.page, "counts": self.counts}


def open_viewer(out: Path, marks: Path | None) -> Viewer:
    """Open a dataset.

    Args:
        out: Its directory.
        marks: File of marked images; default: in the dataset.

    Raises:
        UserError: See `open_rows` and `Marks`.
    """
    rows = open_rows(out)
    kept = Marks(rows, marks or out / MARKS, is_own=marks is None)
    return Viewer(rows, kept, Images(rows), Selector(rows, kept))


def query_of(asked: Mapping[str, str]) -> Query:
    """Return the query in an address.

    Raises:
        UserError: A value has the wrong form.
    """
    clauses = parse_json(asked.get("clauses") or "{}", file="clauses")
    if not isinstance(clauses, dict) or not all(isinstance(one, str) for one in clauses.values()):
        raise UserError("clauses: expected expressions by column")
    if asked.get("marks", "") not in ("", "marked", "unmarked"):
        raise UserError("marks: expected marked or unmarked")
    return Query(
        config=asked.get("config", ""),
        text=asked.get("filter", ""),
        clauses=tuple(sorted((name, one) for name, one in clauses.items() if one)),
        marks=asked.get("marks", ""),
        sort=asked.get("sort", ""),
        descending=asked.get("descending") == "1",
        like=_number(asked["like"]) if asked.get("like") else None,
    )


def _number(text_of: str) -> int:
    if not text_of.isascii() or not text_of.isdecimal() or len(text_of) > 12:
        raise UserError(f"{text_of[:40]!r} is not a whole number")
    return int(text_of)


def _filter_words(query: Query) -> str:
    """Return the options of `train` that choose these rows."""
    words = ["--config", query.config] if query.config else []
    words += ["--filter", query.expression] if query.expression else []
    return shlex.join(words)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
