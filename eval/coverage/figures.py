"""All figures of a sample, beside those of real images."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from eval.coverage.distances import frechet, kernel_distance
from eval.coverage.jackknife import NUM_BLOCKS, Floats, blocks_of, estimate
from eval.coverage.neighbours import NEIGHBOURS, expected_coverage, neighbour_figures
from eval.coverage.vendi import vendi

FEWEST = 20
_SHARES = ("precision", "recall", "coverage", "authenticity")

Figures = dict[str, Floats]
"""By name, shape (1 + blocks,): the value of all images, then without each block."""


def figures_of(real: Floats, other: Floats) -> Figures:
    """Return all figures of `other`, compared with as many real images.

    Args:
        real: Features, shape (n, D), in the order of their classes, n at least `FEWEST`.
        other: Features of synthetic images, or of other real ones, in the same order.
    """
    blocks = blocks_of(len(real))
    return {
        **neighbour_figures(real, other, blocks),
        "frechet_distance": frechet(real, other, blocks),
        "kernel_distance": kernel_distance(real, other, blocks),
        "vendi": vendi(other, blocks),
    }


def compared(one: Figures, other: Figures, names: tuple[str, str]) -> dict[str, Any]:
    """Return each figure of two samples and their difference, with intervals.

    Both leave out the same blocks of the same real images, so the interval of the difference takes
    into account that the figures are correlated.

    Args:
        one: Figures of a sample.
        other: Figures of another one of the same size, with the same real images; subtracted.
        names: Names of the two in the result.
    """
    return {
        name: {
            names[0]: estimate(one[name], is_share=name in _SHARES),
            names[1]: estimate(other[name], is_share=name in _SHARES),
            "difference": estimate(one[name] - other[name]),
        }
        for name in one
    }


def mean_of(parts: Mapping[str, Figures]) -> Figures:
    """Return the figures averaged over groups."""
    every = list(parts.values())
    return {name: np.mean([one[name] for one in every], axis=0) for name in every[0]}


def settings(images: int) -> dict[str, Any]:
    """Return the settings of the figures, for the file."""
    return {
        "neighbours": NEIGHBOURS,
        "expected_coverage": expected_coverage(images),
        "kernel": "(x'y / D + 1) ** 3",
        "interval": f"delete-a-group jackknife, {NUM_BLOCKS} blocks, 95 %",
        "fewest_images": FEWEST,
    }
