"""Precision, recall, density, coverage and authenticity: figures of nearest neighbours.

Distances are computed in chunks of rows, so memory grows with the number of images, not with its
square.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eval.coverage.jackknife import Booleans, Floats, Integers, kept

NEIGHBOURS = 5
_CHUNK_MIB = 64


def neighbour_figures(
    real: Floats, other: Floats, blocks: Integers, *, k: int = NEIGHBOURS
) -> dict[str, Floats]:
    """Compare two samples by their nearest neighbours.

    The ball of an image reaches to its k-th nearest neighbour in its own sample.

    - `precision`: share of the other images that are in the ball of a real one; `recall`: share of
      the real images that are in the ball of another one (T. Kynkaanniemi et al., "Improved
      precision and recall metric for assessing generative models", NeurIPS 2019).
    - `density`: number of real balls that contain another image, divided by k, averaged over the
      other images; `coverage`: share of the real images whose ball contains another image
      (M. F. Naeem et al., "Reliable fidelity and diversity metrics for generative models", ICML
      2020). For two samples of the same distribution, density is 1 on average and coverage
      `expected_coverage`.
    - `authenticity`: share of the other images that are farther from their nearest real image than
      that is from its nearest real neighbour (A. Alaa et al., "How faithful is your synthetic
      data?", ICML 2022). Copies of real images are not.

    Args:
        real: Shape (n, D).
        other: Shape (n, D).
        blocks: Shape (n,): block of each position, for both.
        k: Neighbour that a ball reaches to.

    Returns:
        Shape (1 + blocks,) each: of all images, then without each block.
    """
    masks = list(kept(blocks))
    own, others = _radii(real, masks, k), _radii(other, masks, k)
    counts = [_Counts.of(len(real)) for _ in masks]
    for rows, distances in _chunks(real, other):
        for place, mask in enumerate(masks):
            counts[place].add(
                rows[mask[rows]],
                distances[mask[rows]],
                mask,
                own=own[1][place],
                nearest=own[0][place],
                others=others[1][place],
            )
    found = [one.figures(mask, k) for one, mask in zip(counts, masks, strict=True)]
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def expected_coverage(count: int, k: int = NEIGHBOURS) -> float:
    """Return the expected coverage of `count` images by as many of the same distribution.

    Naeem et al., equation 9: it is near 1 - 2 ** -k for any number of images.
    """
    factors = (np.arange(count - k, count)) / (np.arange(2 * count - k, 2 * count))
    return float(1 - np.prod(factors))


@dataclass
class _Counts:
    """Results of the rows so far; `closest` and `is_far` are about each other image."""

    inside: Floats
    closest: Floats
    is_far: Booleans
    covered: int = 0
    recalled: int = 0

    @classmethod
    def of(cls, count: int) -> "_Counts":
        return cls(np.zeros(count), np.full(count, np.inf), np.zeros(count, dtype=bool))

    def add(
        self,
        rows: Integers,
        distances: Floats,
        mask: Booleans,
        *,
        own: Floats,
        nearest: Floats,
        others: Floats,
    ) -> None:
        """Count rows of real images; radii are those of all real and other images."""
        if not len(rows):
            return
        is_inside = distances < own[rows, None]
        self.inside += is_inside.sum(axis=0)
        self.covered += int(is_inside[:, mask].any(axis=1).sum())
        self.recalled += int((distances < others)[:, mask].any(axis=1).sum())
        best = distances.argmin(axis=0)
        least = distances[best, np.arange(distances.shape[1])]
        is_nearer = least < self.closest
        self.is_far = np.where(is_nearer, least > nearest[rows[best]], self.is_far)
        self.closest = np.where(is_nearer, least, self.closest)

    def figures(self, mask: Booleans, k: int) -> dict[str, float]:
        inside, total = self.inside[mask], int(mask.sum())
        return {
            "precision": float((inside > 0).mean()),
            "recall": self.recalled / total,
            "density": float(inside.mean()) / k,
            "coverage": self.covered / total,
            "authenticity": float(self.is_far[mask].mean()),
        }


def _radii(x: Floats, masks: list[Booleans], k: int) -> Floats:
    """Return distances to the nearest and the k-th neighbour, shape (2, masks, n)."""
    found = np.empty((2, len(masks), len(x)))
    for rows, distances in _chunks(x, x):
        distances[np.arange(len(rows)), rows] = np.inf
        for place, mask in enumerate(masks):
            ordered = np.partition(distances[:, mask], [0, k - 1], axis=1)
            found[:, place, rows] = ordered[:, [0, k - 1]].T
    return found


def _chunks(one: Floats, other: Floats) -> Iterator[tuple[Integers, Floats]]:
    """Yield rows and their Euclidean distances to all of the other images."""
    from sklearn.metrics import pairwise_distances_chunked

    start = 0
    for distances in pairwise_distances_chunked(one, other, working_memory=_CHUNK_MIB):
        rows = np.arange(start, start + len(distances))
        start += len(distances)
        yield rows, distances
