"""Figures of all images and of groups of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eval.coverage.figures import FEWEST, Figures, compared, figures_of, mean_of
from eval.coverage.jackknife import Booleans, Floats

SIDES = ("synthetic", "real")


@dataclass(frozen=True)
class Part:
    """Figures of a group.

    Attributes:
        images: Number of images per side.
        synthetic: Figures of the synthetic images.
        real: Figures of other real images, against the same real images.
    """

    images: int
    synthetic: Figures
    real: Figures

    def as_data(self) -> dict[str, Any]:
        """Return the figures with intervals as plain data."""
        return compared(self.synthetic, self.real, SIDES)


@dataclass(frozen=True)
class Measured:
    """Figures of a dataset.

    Attributes:
        whole: All images.
        groups: By column, by name; None for a group with fewer than `FEWEST` images.
    """

    whole: Part
    groups: dict[str, dict[str, Part | None]]

    def within(self, column: str) -> Part | None:
        """Return the mean over the groups of a column; None if one has too few images."""
        parts = self.groups[column]
        known = {name: part for name, part in parts.items() if part is not None}
        if len(known) < len(parts):
            return None
        return Part(
            images=self.whole.images,
            synthetic=mean_of({name: part.synthetic for name, part in known.items()}),
            real=mean_of({name: part.real for name, part in known.items()}),
        )


def measure_groups(
    real: Floats,
    other: Floats,
    synthetic: Floats,
    groups: Mapping[str, Mapping[str, Booleans]],
) -> Measured:
    """Measure all images, and each group against the real images at the same positions.

    Args:
        real: Shape (n, D), in the order of the classes, random within a class.
        other: Other real images, same shape.
        synthetic: Same shape.
        groups: By column, by name: positions, shape (n,).
    """

    def part(mask: Any) -> Part | None:
        count = len(real[mask])
        if count < FEWEST:
            return None
        own = real[mask]
        return Part(count, figures_of(own, synthetic[mask]), figures_of(own, other[mask]))

    whole = part(slice(None))
    assert whole is not None, "a sample has enough images"
    found = {
        column: {name: part(mask) for name, mask in masks.items()}
        for column, masks in groups.items()
    }
    return Measured(whole, found)
