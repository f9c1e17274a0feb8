"""Facets: how often each value, or range of values, of a column occurs in a selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.report_page import text
from eval.report_page.charts import ticks
from eval.report_page.duplicates import IDENTIFIERS
from eval.report_page.technical import hidden_columns
from eval.viewer.rows import RowNumbers, Rows
from factory.data.columns import (
    ATTEMPT,
    CLASS,
    GUIDANCE_SCALE,
    INDEX,
    LABEL,
    NEGATIVE_PROMPT,
    NUM_INFERENCE_STEPS,
    PROMPT,
    RECIPE,
    SEED,
    TEMPLATE,
)
from factory.data.row_filter import is_comparable

MOST_COLUMNS, MOST_VALUES = 40, 30
_FEW_NUMBERS, _RANGES = 12, 16
_NAMES = {SEED, INDEX, CLASS, *IDENTIFIERS}
_FIRST = (LABEL, GUIDANCE_SCALE, NUM_INFERENCE_STEPS)


@dataclass(frozen=True)
class Facet:
    """The bars of one column.

    Attributes:
        column: Its name.
        is_range: Whether the bars are ranges of numbers.
        names: Texts of the bars.
        clauses: Filter expressions that keep the rows of a bar.
        codes: Bar of each row, shape (rows,); the number of bars for rarer values.
        rest: Number of distinct values without a bar.
    """

    column: str
    is_range: bool
    names: list[str]
    clauses: list[str]
    codes: NDArray[np.int32]
    rest: int = 0

    def counts(self, rows: RowNumbers) -> list[int]:
        """Return the number of some rows in each bar."""
        found = np.bincount(self.codes[rows], minlength=len(self.names) + 1)
        return [int(count) for count in found[: len(self.names)]]


def make_facets(rows: Rows) -> list[Facet]:
    """Return the facets of all columns that vary by themselves and that a filter can name."""
    hidden = _NAMES | hidden_columns(rows.dataset)
    named = [name for name in rows.sortable if name not in hidden and is_comparable(name)]
    last = (RECIPE, TEMPLATE, PROMPT, NEGATIVE_PROMPT, ATTEMPT)
    variables = [name for name in named if name not in (*_FIRST, *last)]
    ordered = [name for name in (*_FIRST[:1], *variables, *_FIRST[1:], *last) if name in named]
    found = (_facet(rows, name) for name in ordered[:MOST_COLUMNS])
    return [one for one in found if one is not None and len(one.names) > 1]


def _facet(rows: Rows, name: str) -> Facet | None:
    column = rows.table[name]
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    values, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    is_number = name != LABEL and str(column.type).startswith(("int", "uint", "float", "double"))
    if is_number and len(values) > _FEW_NUMBERS:
        return _ranges(name, rows.numbers(name))
    if len(values) > max(MOST_VALUES, rows.count // 2):
        return None  # Nearly every row has a value of its own.
    return _values(name, values, codes, labels=rows.dataset.labels if name == LABEL else None)


def _values(
    name: str, values: list[Any], codes: NDArray[np.int32], *, labels: list[str] | None
) -> Facet:
    """Return a bar per value: numbers and classes in their order, texts by frequency."""
    counts = np.bincount(codes, minlength=len(values))
    shown = np.argsort(-counts, kind="stable")[:MOST_VALUES].tolist()
    if labels is not None or not any(isinstance(one, str) for one in values):
        shown.sort(key=lambda place: (values[place] is None, values[place] or 0))
    bars = np.full(len(values), len(shown), np.int32)
    bars[shown] = np.arange(len(shown))
    kept = [values[place] for place in shown]
    return Facet(
        name,
        is_range=False,
        names=[_shown(one, labels) for one in kept],
        clauses=[_clause(name, one, labels) for one in kept],
        codes=bars[codes],
        rest=len(values) - len(kept),
    )


def _shown(value: Any, labels: list[str] | None) -> str:
    is_class = labels is not None and isinstance(value, int) and 0 <= value < len(labels)
    return text.name(labels[value] if labels and is_class else text.value(value))


def _clause(name: str, value: Any, labels: list[str] | None) -> str:
    if value is None:
        return f"{name} is None"
    if isinstance(value, bool):
        return name if value else f"not {name}"
    if labels is not None and 0 <= value < len(labels) and labels.count(labels[value]) == 1:
        return f"{name} == {labels[value]!r}"
    return f"{name} == {value!r}"


def _ranges(name: str, numbers: NDArray[Any]) -> Facet | None:
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return None
    edges = _edges(float(finite.min()), float(finite.max()))
    # The filter compares in the type of the column, too.
    known = np.nan_to_num(numbers, nan=-np.inf)
    places = np.searchsorted(edges.astype(numbers.dtype), known, side="right") - 1
    inside = (places >= 0) & (places < len(edges) - 1) & np.isfinite(numbers)
    pairs = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    return Facet(
        name,
        is_range=True,
        names=[f"{text.number(low)} to {text.number(high)}" for low, high in pairs],
        clauses=[f"{_literal(low)} <= {name} < {_literal(high)}" for low, high in pairs],
        codes=np.where(inside, places, len(pairs)).astype(np.int32),
    )


def _edges(low: float, high: float) -> NDArray[np.float64]:
    """Return round numbers from at most `low` to above `high`, evenly spaced."""
    inner = ticks(low, high, _RANGES)
    step = inner[1] - inner[0] if len(inner) > 1 else 0.0
    if step <= 0:
        # A span that round numbers cannot divide.
        return np.append(np.linspace(low, high, _RANGES), np.nextafter(high, np.inf))
    first = inner[0] - step if inner[0] > low else inner[0]
    count = int(np.floor((high - first) / step)) + 2
    return np.round(first + step * np.arange(count), 12)


def _literal(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
