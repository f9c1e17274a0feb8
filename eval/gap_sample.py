"""Sample the images that `eval gap` compares."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.labels import LabelMatch, match_real
from eval.real import RealImages
from eval.score import references_of
from factory.common.errors import UserError
from factory.data.label_map import LabelMap

Labels = NDArray[np.int64]

_FEWEST = 20


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
    synthetic: RealImages,
    *,
    images: int,
    seed: int,
    labels: LabelMap | None = None,
) -> Sample:
    """Sample the images to compare, class by class.

    Args:
        real: The real images; half of each class is reserved for the baseline.
        synthetic: The synthetic images; their classes are matched by name.
        images: Maximum number per side.
        seed: Seed of the sample.
        labels: Maps real labels to classes of `synthetic`.

    Raises:
        UserError: Class names do not match, or there are too few images.
    """
    match = match_real(
        synthetic.opened.label_names, real, model=synthetic.opened.reference, labels=labels
    )
    rng = np.random.default_rng(seed)
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
    if found < _FEWEST:
        raise UserError(
            f"too few images: {found} real and {found} synthetic images of the same classes can be "
            f"compared (half of the real ones are reserved for the baseline), {_FEWEST} are "
            "needed; add images, or raise --images"
        )
    return Sample(joined["real"], joined["other"], joined["synthetic"], joined["labels"], match)
