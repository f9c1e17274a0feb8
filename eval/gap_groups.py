"""Groups of the compared images: by class, and by columns of the synthetic dataset."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eval.gap import CLASS
from eval.gap_sample import Sample
from factory.common.errors import UserError
from factory.common.text import suggest
from factory.data.columns import GUIDANCE_SCALE, RECIPE
from factory.data.open import OpenedDataset

Groups = dict[str, dict[str, NDArray[np.bool_]]]
"""By column, by name: which positions of the sample are in the group."""

_DEFAULT = (RECIPE, GUIDANCE_SCALE)
_BINS = 4
_MOST_NUMBERS, _MOST_TEXTS = 6, 50


def groups_of(sample: Sample, opened: OpenedDataset, columns: Sequence[str]) -> Groups:
    """Return the groups of a sample.

    A group contains the same positions of all sides, so its real images have the same classes as
    its synthetic ones.

    Args:
        sample: The sample.
        opened: Its synthetic dataset.
        columns: Columns to group by; none: recipe and guidance scale, where the dataset has them.

    Raises:
        UserError: A column does not exist, is not text, number or bool, or has too many texts.
    """
    classes = {
        sample.match.names[label]: sample.labels == label for label in np.unique(sample.labels)
    }
    known = opened.dataset.column_names
    chosen = columns or [name for name in _DEFAULT if name in known]
    found = {name: _by_column(opened, sample.synthetic, name) for name in chosen}
    if not columns:
        # A single group repeats the figures of all images.
        found = {name: groups for name, groups in found.items() if len(groups) > 1}
    return {**found, CLASS: classes}


def _by_column(
    opened: OpenedDataset, rows: NDArray[np.int64], column: str
) -> dict[str, NDArray[np.bool_]]:
    known = [one for one in opened.dataset.column_names if one != opened.image_column]
    if column not in known:
        raise UserError(f"--by {column}: no such column; {suggest(column, known)}")
    values = opened.dataset.select_columns([column]).select(rows.tolist())[column]
    texts = np.array(["none" if value is None else str(value) for value in values])
    present = [value for value in values if value is not None]
    if not all(isinstance(value, str | int | float) for value in present):
        raise UserError(f"--by {column}: is not a column of texts, numbers, or true and false")
    is_number = all(not isinstance(value, str | bool) for value in present)
    if is_number and len(set(present)) > _MOST_NUMBERS:
        return _bins(np.array([np.nan if value is None else value for value in values], float))
    names = sorted(set(texts.tolist()), key=lambda name: (name == "none", _order(name)))
    if len(names) > _MOST_TEXTS:
        raise UserError(
            f"--by {column}: has {len(names)} different values among the compared images, at most "
            f"{_MOST_TEXTS} can be compared; choose another column"
        )
    return {name: texts == name for name in names}


def _order(name: str) -> tuple[float, str]:
    try:
        return float(name), name
    except ValueError:
        return np.inf, name


def _bins(values: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """Return groups of about equal size, by value; missing values are the last."""
    known = np.isfinite(values)
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, _BINS + 1)))
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    # As few digits as tell the edges apart.
    digits = 3
    while digits < 17 and len({f"{edge:.{digits}g}" for edge in edges}) < len(edges):
        digits += 1
    found = {
        f"{low:.{digits}g} to {high:.{digits}g}": known & (place == number)
        for number, (low, high) in enumerate(pairwise(edges))
    }
    return found if known.all() else {**found, "none": ~known}
