"""Makes the paper's Table 1 out of scores: a row a trick, a column a real set, the gain on base."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from eval.scores import Scores, find_scores, read_scores
from factory.errors import UserError

RowKey = Literal["config", "run"]

DEFAULT_BASE = "base-class"
_TABLE_1 = ("base-class", "anti-aliasing", "class-prompt", "multi-domain", "random-guidance")
_COMBINING = {"all", "best", "combined", "combination", "but", "union"}
# What may differ between runs of one cell: another seed, and the set that another base seed draws.
_FREE = {"seed", "data.reference", "data.pixels_sha256"}


@dataclass(frozen=True)
class Cell:
    """One trick on one real set; all figures in per cent.

    Attributes:
        top1: Mean over the runs.
        std: Sample standard deviation over the runs, None for one run.
        low: Lower end of the 95 % Wilson interval of one run; None for several.
        high: Upper end.
        difference: To the base row, None without one.
        runs: The runs, in the order given.
    """

    top1: float
    std: float | None
    low: float | None
    high: float | None
    difference: float | None
    runs: list[str]


@dataclass(frozen=True)
class Table:
    """Rows and columns of one architecture; a missing cell is absent from `cells`."""

    architecture: str
    base: str | None
    rows: list[str]
    columns: list[str]
    cells: dict[tuple[str, str], Cell]


def collect(paths: Sequence[Path]) -> list[Scores]:
    """Read scores files and run folders; the same weights on the same images count once.

    Raises:
        UserError: A file is missing or no scores file.
    """
    found: dict[tuple[str, str], Scores] = {}
    for path in paths:
        for file in find_scores(path):
            scores = read_scores(file)
            key = (scores.model.weights_sha256, scores.real.fingerprint)
            found.setdefault(key, scores)
    return list(found.values())


def make_tables(
    scores: Sequence[Scores],
    *,
    base: str | None = None,
    order: Sequence[str] = (),
    row_key: RowKey = "config",
) -> list[Table]:
    """Return one table for each architecture, in alphabetical order.

    Args:
        scores: In any order.
        base: Row that differences are to. Default: `base-class` where there is one.
        order: Row names that come first, in this order.
        row_key: Rows are dataset configs, over which seeds are averaged; or single runs.

    Raises:
        UserError: An unknown row name, one column of two different sets, or one cell of different
            trainings.
    """
    _check_columns(scores)
    names = {row_name(one, row_key) for one in scores}
    unknown = [name for name in (*order, *([base] if base else [])) if name not in names]
    if unknown:
        raise UserError(f"no row {unknown[0]!r} in the table; its rows: {', '.join(sorted(names))}")
    architectures = sorted({one.model.architecture for one in scores})
    return [
        _make_table(
            [one for one in scores if one.model.architecture == architecture],
            architecture=architecture,
            base=base or DEFAULT_BASE,
            order=order,
            row_key=row_key,
        )
        for architecture in architectures
    ]


def row_name(scores: Scores, row_key: RowKey = "config") -> str:
    """Return the trick: the config that the run was trained on, else the run's own name."""
    config = ((scores.training or {}).get("data") or {}).get("config_name")
    if row_key == "config" and config not in (None, "default"):
        return str(config)
    return Path(scores.run).resolve().name if Path(scores.run).is_dir() else Path(scores.run).name


def order_rows(names: Sequence[str], *, base: str, order: Sequence[str] = ()) -> list[str]:
    """Sort row names: `order`, the base, Table 1's tricks, others by name, combinations."""

    def place(name: str) -> tuple[int, int, str]:
        if name in order:
            return 0, list(order).index(name), name
        if name == base:
            return 1, 0, name
        if name in _TABLE_1:
            return 2, _TABLE_1.index(name), name
        combines = bool(_COMBINING & set(name.replace("_", "-").split("-")))
        return (4 if combines else 3), 0, name

    return sorted(names, key=place)


def _make_table(
    scores: Sequence[Scores],
    *,
    architecture: str,
    base: str,
    order: Sequence[str],
    row_key: RowKey,
) -> Table:
    grouped: dict[tuple[str, str], list[Scores]] = {}
    for one in scores:
        grouped.setdefault((row_name(one, row_key), one.real.name), []).append(one)
    rows = order_rows(sorted({row for row, _ in grouped}), base=base, order=order)
    cells = {
        (row, column): _make_cell(group, row=row, base=grouped.get((base, column)))
        for (row, column), group in grouped.items()
    }
    return Table(
        architecture=architecture,
        base=base if base in rows else None,
        rows=rows,
        columns=sorted({column for _, column in grouped}),
        cells=cells,
    )


def _make_cell(group: Sequence[Scores], *, row: str, base: Sequence[Scores] | None) -> Cell:
    _check_same_training(group, row)
    values = [100 * one.metrics.top1 for one in group]
    mean = math.fsum(values) / len(values)
    single = len(group) == 1
    std = None
    if not single:
        std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    difference = None
    if base is not None and base is not group:
        difference = mean - math.fsum(100 * one.metrics.top1 for one in base) / len(base)
    return Cell(
        top1=mean,
        std=std,
        low=100 * group[0].metrics.top1_low if single else None,
        high=100 * group[0].metrics.top1_high if single else None,
        difference=difference,
        runs=[one.run for one in group],
    )


def _check_columns(scores: Sequence[Scores]) -> None:
    """Refuse one column of two sets: their figures can't be compared."""
    seen: dict[str, Scores] = {}
    for one in scores:
        first = seen.setdefault(one.real.name, one)
        if first.real.fingerprint != one.real.fingerprint:
            raise UserError(
                f"{one.real.name}: {first.run} and {one.run} were scored on different images "
                f"({first.real.num_images} of {first.real.reference}, {one.real.num_images} of "
                f"{one.real.reference}); score both on the same set"
            )


def _check_same_training(group: Sequence[Scores], row: str) -> None:
    """Refuse to average runs that differ in more than their seed."""
    first, *others = (_flat(one.training or {}) for one in group)
    for one, other in zip(group[1:], others, strict=True):
        differing = sorted(
            key for key in first.keys() | other.keys() if first.get(key) != other.get(key)
        )
        if set(differing) - _FREE:
            found = next(key for key in differing if key not in _FREE)
            raise UserError(
                f"{row} on {one.real.name}: {group[0].run} and {one.run} differ in {found} "
                f"({first.get(found)} and {other.get(found)}), not just in seed; "
                "give one of them, or --rows run"
            )


def _flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping's values under dotted keys."""
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def to_markdown(tables: Sequence[Table], *, intervals: bool = False) -> str:
    """Return Markdown that reads as plain text too; several architectures get a heading each.

    Args:
        tables: From `make_tables`.
        intervals: Show the 95 % interval of single runs.
    """
    parts = []
    for table in tables:
        heading = f"### {table.architecture}\n\n" if len(tables) > 1 else ""
        parts.append(heading + _markdown(table, intervals=intervals))
    return "\n\n".join(parts)


def _markdown(table: Table, *, intervals: bool) -> str:
    lines = [["top-1 (%)", *table.columns]]
    for row in table.rows:
        found = [table.cells.get((row, column)) for column in table.columns]
        lines.append([row, *(_cell_text(cell, intervals) if cell else "" for cell in found)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def text(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    return "\n".join([text(lines[0]), text(rule), *map(text, lines[1:])])


def _cell_text(cell: Cell, intervals: bool) -> str:
    text = f"{cell.top1:.2f}"
    if cell.std is not None:
        text += f" ± {cell.std:.2f}"
    if intervals and cell.low is not None:
        text += f" [{cell.low:.2f}, {cell.high:.2f}]"
    if cell.difference is not None:
        text += f" ({cell.difference:+.2f})"
    return text


def to_json(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Return the tables as plain data, with every figure of every cell."""
    return [
        {
            "architecture": table.architecture,
            "base": table.base,
            "columns": table.columns,
            "rows": [
                {
                    "name": row,
                    "cells": {
                        column: vars(table.cells[row, column])
                        for column in table.columns
                        if (row, column) in table.cells
                    },
                }
                for row in table.rows
            ],
        }
        for table in tables
    ]
