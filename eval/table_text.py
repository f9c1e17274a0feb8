"""Write tables of scores as readable Markdown, and as plain data."""

from collections.abc import Sequence
from typing import Any

from eval.sampling import NOT_RECORDED
from eval.table import Cell, Table
from factory.common.markup import table_cell


def to_markdown(tables: Sequence[Table], *, intervals: bool = False, cost: bool = False) -> str:
    """Return Markdown; one heading per architecture if there are several."""
    parts = []
    for table in tables:
        heading = f"### {table_cell(table.architecture)}\n\n" if len(tables) > 1 else ""
        parts.append(heading + _markdown(table, intervals=intervals, cost=cost))
    return "\n\n".join(parts)


def grid(lines: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as a Markdown table: first column left-aligned, others right-aligned."""
    # Names come from untrusted files.
    lines = [[table_cell(one) for one in line] for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def text(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    return "\n".join([text(lines[0]), text(rule), *map(text, lines[1:])])


def _markdown(table: Table, *, intervals: bool, cost: bool) -> str:
    sampled = any(cell.guidance not in ("", NOT_RECORDED) for cell in table.cells.values())
    header = ["guidance", "steps"] if sampled else []
    extra = ["images", "training (min)"] if cost else []
    lines = [["top-1 (%)", *header, *table.columns, *extra]]
    for row in table.rows:
        found = [table.cells.get((row, column)) for column in table.columns]
        cells = [_cell_text(cell, intervals) if cell else "" for cell in found]
        settings = _sampling(found) if sampled else ()
        lines.append([row, *settings, *cells, *(_cost(found) if cost else ())])
    return grid(lines)


def _sampling(cells: Sequence[Cell | None]) -> tuple[str, str]:
    """Return guidance and steps of a row's training images."""
    found = [cell for cell in cells if cell is not None]
    guidance, steps = (
        dict.fromkeys(c.guidance for c in found),
        dict.fromkeys(c.steps for c in found),
    )
    return "; ".join(guidance), "; ".join(steps)


def _cost(cells: Sequence[Cell | None]) -> tuple[str, str]:
    """Return the cost of a row's training; all its columns have the same runs."""
    cell = next(one for one in cells if one is not None)
    images = "" if cell.train_images is None else f"{cell.train_images:,}"
    seconds = "" if cell.train_seconds is None else f"{cell.train_seconds / 60:.1f}"
    return images, seconds


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
    """Return the tables as plain data, with all values of every cell."""
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
