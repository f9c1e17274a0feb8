"""Measure the gap between a synthetic dataset and real images in a model's logits or features.

The paper shows the gap as two plots (its Figures 2 and 3). Here it is also a number, the accuracy
of a two-sample classifier (Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR
2017): a classifier learns to distinguish real from synthetic images, tested on held-out images. An
accuracy of 0.5 means that it cannot. The baseline (`floor`) is the same measure between two halves
of the real images. `eval.coverage` adds figures of quality and variety.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.coverage.figures import settings
from eval.coverage.groups import Measured, Part, measure_groups
from eval.intervals import share_correlation, share_difference, share_interval
from eval.spread import compare_spread
from eval.tsne import one_thread

Features = NDArray[np.float64]
Labels = NDArray[np.int64]
Correct = NDArray[np.bool_]

CLASS = "class"
"""Group that every sample has."""
_COMPONENTS = 50


@dataclass(frozen=True)
class Gap:
    """The measured gap of a synthetic dataset.

    Attributes:
        tested: Shape (held-out images,): position of each in the real images, then in the others.
        gap: Same shape: whether the classifier assigns the image to the right side.
        floor: The same between two halves of the real images.
        head: Accuracy of a linear probe.
        spread: Spread within classes.
        groups: By column, by name: positions of its images.
        quality: Figures of all images and of the groups.
    """

    tested: Labels
    gap: Correct
    floor: Correct
    head: dict[str, Any]
    spread: dict[str, Any]
    groups: Mapping[str, Mapping[str, NDArray[np.bool_]]]
    quality: Measured

    @property
    def is_shared(self) -> NDArray[np.bool_]:
        """Whether `gap` and `floor` are about the same held-out image: a real one."""
        return self.tested < self.quality.whole.images

    def as_data(self) -> dict[str, Any]:
        """Return all figures as plain data."""
        return {
            "two_sample": share(self.gap),
            "floor": share(self.floor),
            "above_floor": above(self.gap, self.floor, shared=self.is_shared),
            "head": self.head,
            "spread": self.spread,
            "quality": self._quality(),
        }

    def _quality(self) -> dict[str, Any]:
        within = self.quality.within(CLASS) if CLASS in self.groups else None
        return {
            "settings": settings(self.quality.whole.images),
            "figures": self.quality.whole.as_data(),
            "within_classes": within and within.as_data(),
            "groups": {
                column: {name: self._group(column, name, part) for name, part in parts.items()}
                for column, parts in self.quality.groups.items()
            },
        }

    def _group(self, column: str, name: str, part: Part | None) -> dict[str, Any]:
        mask = self.groups[column][name]
        held_out = np.concatenate([mask, mask])[self.tested]
        return {
            "images": int(mask.sum()),
            "figures": part and part.as_data(),
            "two_sample": share(self.gap[held_out]) if held_out.any() else None,
            "floor": share(self.floor[held_out]) if held_out.any() else None,
        }


def measure_gap(
    real: Features,
    other_real: Features,
    synthetic: Features,
    *,
    labels: Labels,
    seed: int,
    groups: Mapping[str, Mapping[str, NDArray[np.bool_]]] | None = None,
) -> Gap:
    """Measure the gap.

    The 95 % intervals show how much a figure would vary with other images from the same sources.
    The intervals of `two_sample`, `floor`, `above_floor` and `head` keep the trained classifiers
    and vary the held-out images; those of `spread` and `quality` vary all images. They do not
    include the variation from another training half, seed, model, space, or run of the generator.

    `two_sample` and `floor` share the held-out images of `real`, which are half of the test images
    of each. So their errors are correlated; `above_floor` takes this into account.

    Args:
        real: Features of real images, shape (images, D), in the order of their classes.
        other_real: Features of other real images, same shape.
        synthetic: Features of synthetic images, same shape.
        labels: Shape (images,): classes, the same in all three.
        seed: Seed of the training halves and of the bootstrap.
        groups: By column, by name: positions, shape (images,), to measure on their own.
    """
    train, test = _halves(labels, seed=seed)
    with one_thread():
        return Gap(
            tested=test,
            gap=_two_sample(real, synthetic, train=train, test=test),
            floor=_two_sample(real, other_real, train=train, test=test),
            head=_linear_probe(real, other_real, synthetic, labels=labels),
            spread=compare_spread(real, synthetic, labels=labels, seed=seed),
            groups=groups or {},
            quality=measure_groups(real, other_real, synthetic, groups or {}),
        )


def _halves(labels: Labels, *, seed: int) -> tuple[Labels, Labels]:
    """Split the images of two sides into a training and a held-out half.

    Positions count through one side, then the other. Each half contains equally many images of both
    sides and of every class.
    """
    from sklearn.model_selection import train_test_split

    side = np.repeat([0, 1], len(labels))
    strata = side * (int(labels.max()) + 1) + np.concatenate([labels, labels])
    # A class with a single image cannot be in both halves.
    splits = np.bincount(strata)[np.unique(strata)].min() > 1
    train, test = train_test_split(
        np.arange(len(side)),
        test_size=0.5,
        stratify=strata if splits else side,
        random_state=seed,
    )
    return train, test


def _two_sample(one: Features, other: Features, *, train: Labels, test: Labels) -> Correct:
    """Return for each held-out image whether a classifier assigns it to the right side.

    The classifier is a logistic regression on the first principal components of standardised
    features, trained on one half of the images. Cross-validation would test all images, but its
    results depend on each other, so its interval would be too narrow.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.concatenate([one, other])
    side = np.repeat([0, 1], len(one))
    components = min(_COMPONENTS, x.shape[1], max(len(train) // 4, 1))
    classifier = make_pipeline(
        StandardScaler(),
        PCA(components, svd_solver="full"),
        LogisticRegression(max_iter=2000),
    )
    classifier.fit(x[train], side[train])
    correct: Correct = classifier.predict(x[test]) == side[test]
    return correct


def above(gap: Correct, floor: Correct, *, shared: Correct) -> dict[str, Any]:
    """Return the difference of two accuracies, and its interval for partly shared images."""
    correlation = share_correlation(gap, floor, shared=shared)
    difference, interval = share_difference(_counted(gap), _counted(floor), correlation=correlation)
    return {
        "difference": difference,
        "low": interval.low,
        "high": interval.high,
        "correlation": correlation,
    }


def _linear_probe(
    real: Features, other_real: Features, synthetic: Features, *, labels: Labels
) -> dict[str, Any]:
    """Train a linear classifier on real images; test it on other real and on synthetic ones."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels)) < 2:
        return {"real": None, "synthetic": None}
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
    probe.fit(real, labels)
    tested = {"real": other_real, "synthetic": synthetic}
    return {name: share(probe.predict(x) == labels) for name, x in tested.items()}


def _counted(correct: Correct) -> tuple[int, int]:
    return int(correct.sum()), len(correct)


def share(correct: Correct) -> dict[str, Any]:
    """Return an accuracy with its interval and counts."""
    count, total = _counted(correct)
    interval = share_interval(count, total)
    return {
        "accuracy": count / total,
        "low": interval.low,
        "high": interval.high,
        "num_correct": count,
        "num_images": total,
    }
