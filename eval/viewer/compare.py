"""Rows of several configs side by side: the images that started from the same noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from eval.viewer.rows import RowNumbers, Rows
from factory.data.columns import INDEX, LABEL, SEED

Key = tuple[int, int, int]
"""Label, seed or index, and how many rows of the config have both before it."""


def beside(rows: Rows, shown: Sequence[int], config: str, others: Sequence[str]) -> list[list[int]]:
    """Return for each shown row of a config the rows of other configs that belong beside it.

    These have the same class and seed. Configs without a common seed are compared by index: their
    noise is independent.

    Args:
        rows: The rows.
        shown: Rows of `config`.
        config: The first config.
        others: The configs beside it.

    Returns:
        A row number per shown row and other config; -1 if there is none.
    """
    own = rows.of_config(config)
    columns = []
    for other in others:
        theirs = rows.of_config(other)
        column = SEED if _share_a_seed(rows, own, theirs) else INDEX
        known = {key: row for row, key in _keys(rows, theirs, column, shown)}
        keys = dict(_keys(rows, own, column, shown))
        columns.append([known.get(keys[row], -1) for row in shown])
    return [list(line) for line in zip(*columns, strict=True)]


def same_seed(rows: Rows, line: Iterable[int]) -> bool:
    """Return whether all rows of a line have one seed."""
    if SEED not in rows.table.column_names:
        return False
    return len({rows.table[SEED][row].as_py() for row in line if row >= 0}) == 1


def _share_a_seed(rows: Rows, own: RowNumbers, theirs: RowNumbers) -> bool:
    if SEED not in rows.table.column_names:
        return False
    seeds = rows.numbers(SEED)
    # A few seeds decide: either all noise is shared, or none.
    return bool(np.isin(seeds[own[:100]], seeds[theirs]).any())


def _keys(
    rows: Rows, of_config: RowNumbers, column: str, shown: Sequence[int]
) -> list[tuple[int, Key]]:
    """Return the keys of those rows of a config that have a value of a shown row."""
    values, labels = rows.numbers(column), rows.numbers(LABEL)
    near = of_config[np.isin(values[of_config], values[np.asarray(shown, np.int64)])]
    before: Counter[tuple[int, int]] = Counter()
    found = []
    for row in near.tolist():
        pair = (int(labels[row]), int(values[row]))
        found.append((row, (*pair, before[pair])))
        before[pair] += 1
    return found
