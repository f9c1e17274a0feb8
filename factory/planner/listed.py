"""Find the rows of a combination that lists its images (`rows` in its recipe)."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from factory.recipe.resolved import ResolvedRecipe
from factory.recipe.row_ranges import Ranges

_NEARBY = 32
_Row = TypeVar("_Row")


def first_images(recipe: ResolvedRecipe, member: ResolvedRecipe) -> int:
    """Return how many first images of a member contain all that a combination lists of it."""
    classes = len(recipe.classes)
    return -(-(recipe.rows[member.name][-1][1] + 1) // classes) * classes


def scattered(
    rows: Callable[[int, int], Sequence[_Row]], indexes: NDArray[np.int64]
) -> dict[int, _Row]:
    """Return rows by index; nearby ones are computed together, because each call takes longer.

    Args:
        rows: Returns the rows of a range, from start to stop.
        indexes: Shape (images,).
    """
    found: dict[int, _Row] = {}
    wanted = np.unique(indexes)
    for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > _NEARBY) + 1):
        if len(run):
            first = int(run[0])
            computed = rows(first, int(run[-1]) + 1)
            found |= {index: computed[index - first] for index in run.tolist()}
    return found


@lru_cache(maxsize=8)
def listed_images(rows: tuple[Ranges, ...], num_classes: int) -> NDArray[np.int64]:
    """Return the images of a combination that lists its images, in order.

    Classes take turns in the order of their labels until each has no more, so row i has class
    `i % num_classes` if all have the same number. Within a class the order is that of the members
    and their indexes.

    Returns:
        Shape (images, 2): number of the member, index of its image.
    """
    listed = [
        np.stack([np.full(last - first + 1, number), np.arange(first, last + 1)], axis=1)
        for number, ranges in enumerate(rows)
        for first, last in ranges
    ]
    images = np.concatenate(listed).astype(np.int64)
    labels = images[:, 1] % num_classes
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=num_classes)
    turns = np.empty_like(labels)
    turns[by_class] = np.concatenate([np.arange(count) for count in counts])
    return images[np.lexsort((labels, turns))]
