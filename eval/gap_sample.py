"""Sample the images that `eval gap` compares."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eval.coverage.figures import FEWEST
from eval.labels import LabelMatch, match_real
from eval.real import RealImages
from eval.score import references_of
from factory.common.errors import UserError
from factory.common.row_options import row_options
from factory.common.text import plural, some
from factory.data.label_map import LabelMap

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """Images to compare, equally many per class: real, other real and synthetic.

    Attributes:
        real: Rows of the real dataset.
        other_real: Other rows of the real dataset, for the baseline (`floor`).
        synthetic: Rows of the synthetic dataset.
        labels: Class of each position, the same in all three; an index into `match.names`.
        match: How the classes of both datasets were matched.
    """

    real: Labels
    other_real: Labels
    synthetic: Labels
    labels: Labels
    match: LabelMatch

    @property
    def compared(self) -> list[str]:
        """Names of the classes that have images."""
        return [self.match.names[label] for label in np.unique(self.labels)]


def sample_images(
    real: RealImages,
    synthetic: Sequence[RealImages],
    *,
    images: int,
    seed: int,
    labels: LabelMap | None = None,
) -> list[Sample]:
    """Sample the images to compare, class by class.

    Args:
        real: The real images; half of each class is reserved for the baseline.
        synthetic: Synthetic datasets, each compared with the same real images; their classes are
            matched by name.
        images: Maximum number per side.
        seed: Seed of the sample.
        labels: Maps real labels to classes of each dataset.

    Returns:
        A sample for each dataset.

    Raises:
        UserError: Class names do not match, there are too few images, or the datasets do not have
            equally many images of each class to compare.
    """
    rng = np.random.default_rng(seed)
    first = _sample(real, synthetic[0], images=images, rng=rng, labels=labels)
    return [first, *(_like(first, real, one, images, seed, labels) for one in synthetic[1:])]


def _sample(
    real: RealImages,
    synthetic: RealImages,
    *,
    images: int,
    rng: np.random.Generator,
    labels: LabelMap | None,
) -> Sample:
    with row_options("--real-{}"):
        match = match_real(
            synthetic.opened.label_names,
            real,
            model=synthetic.opened.reference,
            labels=labels,
        )
    references = references_of(match, real)
    known = sorted(set(references.tolist()))
    most = max(images // len(known), 1)
    parts: dict[str, list[Labels]] = {"real": [], "other": [], "synthetic": [], "labels": []}
    for place in known:
        own = rng.permutation(np.flatnonzero(references == place))
        made = rng.permutation(np.flatnonzero(synthetic.labels == match.model_indices[place]))
        count = min(len(own) // 2, len(made), most)
        parts["real"].append(own[:count])
        parts["other"].append(own[count : 2 * count])
        parts["synthetic"].append(made[:count])
        parts["labels"].append(np.full(count, place, dtype=np.int64))
    joined = {name: np.concatenate(part) for name, part in parts.items()}
    found = len(joined["labels"])
    if found < FEWEST:
        sizes = {
            match.names[place]: (
                int((references == place).sum()),
                int((synthetic.labels == match.model_indices[place]).sum()),
            )
            for place in known
        }
        raise UserError(_too_few(sizes, found, images=images))
    return Sample(joined["real"], joined["other"], joined["synthetic"], joined["labels"], match)


def _too_few(sizes: Mapping[str, tuple[int, int]], found: int, *, images: int) -> str:
    """Return which classes lack images, of how many real and synthetic ones each has."""
    needed = math.ceil(FEWEST / len(sizes))
    if images < needed * len(sizes):
        return f"--images {images}: expected {needed * len(sizes)} or more"
    short = [
        f"{name} has {real:,} real and {made:,} synthetic"
        for name, (real, made) in sizes.items()
        if real < 2 * needed or made < needed
    ]
    return (
        f"too few images: {found} real and {found} synthetic ones can be compared, {FEWEST} of "
        f"each are needed; of {plural(len(sizes), 'class', 'classes')}, each needs {needed} "
        f"synthetic images and {2 * needed} real ones, half of them for the baseline "
        f"({some(short)})"
    )


def _like(
    first: Sample,
    real: RealImages,
    synthetic: RealImages,
    images: int,
    seed: int,
    labels: LabelMap | None,
) -> Sample:
    """Sample another dataset, to be compared with the real images of the first sample.

    Its own sample must have as many images of each class: figures depend on their number.
    """
    own = _sample(real, synthetic, images=images, rng=np.random.default_rng(seed), labels=labels)
    counts = [_counts(one) for one in (first, own)]
    if list(counts[0].items()) == list(counts[1].items()):
        return replace(own, real=first.real, other_real=first.other_real)
    names = {**counts[0], **counts[1]}
    name = next(one for one in names if counts[0].get(one) != counts[1].get(one))
    least = min(one.get(name, 0) for one in counts)
    remedy = f"give --images {least * len(names)} or fewer" if least else "compare the same classes"
    raise UserError(
        f"{synthetic.opened.shown}: the datasets differ in the number of images of class "
        f"{name} that can be compared ({counts[0].get(name, 0)} and {counts[1].get(name, 0)}), and "
        f"figures depend on it; {remedy}"
    )


def _counts(sample: Sample) -> dict[str, int]:
    """Return the number of images per side of each class, in the order of the sample."""
    return {
        sample.match.names[label]: int((sample.labels == label).sum())
        for label in np.unique(sample.labels)
    }
