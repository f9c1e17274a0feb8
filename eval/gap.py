"""How far a synthetic set is from real images, in the features of a model.

The paper shows it as two pictures (its Figures 2 and 3) and an impression. The number here is a
two-sample classifier's: trained to tell real images from synthetic ones, how often is it right
about images it has not seen? Half of the time is what no gap looks like; what the same classifier
makes of two halves of the real set is the floor, measured with as many images.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval.intervals import share_difference, share_interval
from eval.labels import LabelMatch, match_real
from eval.real import RealImages
from eval.score import references_of
from factory.errors import UserError

if TYPE_CHECKING:
    from eval.label_map import LabelMap

Features = NDArray[np.float64]
Labels = NDArray[np.int64]

_FEWEST = 20
_COMPONENTS = 50


@dataclass(frozen=True)
class Sample:
    """As many images of each class from both sides, and as many other real ones for the floor.

    Attributes:
        real: Rows of the real set.
        other_real: Rows of the real set, none of `real`.
        synthetic: Rows of the synthetic set.
        labels: Class of each place, the same in all three; counts `match.names`.
        match: How the classes of both datasets were matched.
    """

    real: Labels
    other_real: Labels
    synthetic: Labels
    labels: Labels
    match: LabelMatch


def draw_sample(
    real: RealImages,
    synthetic: RealImages,
    *,
    images: int,
    seed: int,
    labels: LabelMap | None = None,
) -> Sample:
    """Sample the images that are compared, class by class.

    Args:
        real: Half of each class at most is compared, the other half is the floor's.
        synthetic: Its classes are matched by name.
        images: Of each side at most.
        seed: Of the sample.
        labels: Classes of `synthetic` for real labels that it calls otherwise.

    Raises:
        UserError: Classes don't meet, or there are too few images.
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
        mine = rng.permutation(np.flatnonzero(references == place))
        drawn = rng.permutation(np.flatnonzero(synthetic.labels == match.model_indices[place]))
        count = min(len(mine) // 2, len(drawn), most)
        parts["real"].append(mine[:count])
        parts["other"].append(mine[count : 2 * count])
        parts["synthetic"].append(drawn[:count])
        parts["labels"].append(np.full(count, place, dtype=np.int64))
    joined = {name: np.concatenate(part) for name, part in parts.items()}
    if len(joined["labels"]) < _FEWEST:
        raise UserError(
            f"{len(joined['labels'])} images of either side can be compared class by class (half "
            f"of the real ones are the floor's); {_FEWEST} are needed: give more"
        )
    return Sample(joined["real"], joined["other"], joined["synthetic"], joined["labels"], match)


def measure_gap(
    real: Features, other_real: Features, synthetic: Features, *, labels: Labels, seed: int
) -> dict[str, Any]:
    """Return all figures, as plain data.

    Args:
        real: Shape (images, D).
        other_real: Same shape, other images.
        synthetic: Same shape.
        labels: Classes of the places of all three.
        seed: Of the halves.
    """
    with one_thread():
        gap = _told_apart(real, synthetic, labels=labels, seed=seed)
        floor = _told_apart(real, other_real, labels=labels, seed=seed)
        head = _head(real, other_real, synthetic, labels=labels)
    difference, interval = share_difference(gap, floor)
    return {
        "two_sample": _share(*gap),
        "floor": _share(*floor),
        "above_floor": {
            "difference": difference,
            "low": interval.low,
            "high": interval.high,
        },
        "head": head,
        "spread": _spread(real, synthetic, labels=labels),
    }


def _told_apart(one: Features, other: Features, *, labels: Labels, seed: int) -> tuple[int, int]:
    """Count the held-out images that a classifier puts on the right side, and all held-out ones.

    Standardised features, their first principal components, logistic regression, learnt from half
    of the images. The other half is judged once: the counts of cross-validation would depend on
    each other, and an interval made of them would be too narrow. Both halves hold both sides and
    all classes in equal parts.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.concatenate([one, other])
    side = np.repeat([0, 1], len(labels))
    strata = side * (int(labels.max()) + 1) + np.concatenate([labels, labels])
    # A class with a single image cannot lie in both halves.
    splits = np.bincount(strata)[np.unique(strata)].min() > 1
    train, test = train_test_split(
        np.arange(len(x)),
        test_size=0.5,
        stratify=strata if splits else side,
        random_state=seed,
    )
    components = min(_COMPONENTS, x.shape[1], max(len(train) // 4, 1))
    classifier = make_pipeline(
        StandardScaler(),
        PCA(components, svd_solver="full"),
        LogisticRegression(max_iter=2000),
    )
    classifier.fit(x[train], side[train])
    return int((classifier.predict(x[test]) == side[test]).sum()), len(test)


def _head(
    real: Features, other_real: Features, synthetic: Features, *, labels: Labels
) -> dict[str, Any]:
    """Fit a last layer to the real images; say how well it knows other real and synthetic ones."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels)) < 2:
        return {"real": None, "synthetic": None}
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
    head.fit(real, labels)
    found = {"real": other_real, "synthetic": synthetic}
    return {
        name: _share(int((head.predict(x) == labels).sum()), len(labels))
        for name, x in found.items()
    }


def _share(count: int, total: int) -> dict[str, Any]:
    interval = share_interval(count, total)
    return {
        "accuracy": count / total,
        "low": interval.low,
        "high": interval.high,
        "num_correct": count,
        "num_images": total,
    }


def _spread(real: Features, synthetic: Features, *, labels: Labels) -> dict[str, Any]:
    """Compare how far images of a class lie from their class's centre: 1 is as varied as real ones.

    The mean squared distance in features standardised over both sides, averaged over classes.
    """
    scale = np.concatenate([real, synthetic]).std(axis=0)
    scale[scale == 0] = 1.0
    ratios: list[float | None] = []
    sums = np.zeros(2)
    for label in np.unique(labels):
        own = labels == label
        if own.sum() < 2:
            ratios.append(None)
            continue
        both = [_within(side[own] / scale) for side in (real, synthetic)]
        ratios.append(both[1] / both[0] if both[0] else None)
        sums += both
    return {"ratio": float(sums[1] / sums[0]) if sums[0] else None, "per_class": ratios}


def _within(x: Features) -> float:
    centred = x - x.mean(axis=0)
    return float((centred**2).sum() / (len(x) - 1))


def embed(features: Features) -> Features:
    """Return t-SNE places, shape (images, 2): the same for the same features.

    It starts from the first two principal components, so that no seed decides anything.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler

    components = min(_COMPONENTS, *features.shape)
    with one_thread():
        x = PCA(components, svd_solver="full").fit_transform(
            StandardScaler().fit_transform(features)
        )
        perplexity = min(30.0, (len(x) - 1) / 3)
        places: Features = TSNE(
            init="pca", perplexity=perplexity, random_state=0, n_jobs=1
        ).fit_transform(x)
    return places.astype(np.float64)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let linear algebra use one thread: sums then come out the same every time."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
