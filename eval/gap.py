"""Measure the gap between a synthetic dataset and real images in a model's logits or features.

The paper shows the gap as two plots (its Figures 2 and 3). Here it is also a number, the accuracy
of a two-sample classifier (Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR
2017): a classifier learns to distinguish real from synthetic images, tested on held-out images. An
accuracy of 0.5 means that it cannot. The baseline (`floor`) is the same measure between two halves
of the real images.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.intervals import share_correlation, share_difference, share_interval
from eval.spread import compare_spread

Features = NDArray[np.float64]
Labels = NDArray[np.int64]
Correct = NDArray[np.bool_]

_COMPONENTS = 50


def measure_gap(
    real: Features, other_real: Features, synthetic: Features, *, labels: Labels, seed: int
) -> dict[str, Any]:
    """Measure the gap; return all figures as plain data.

    The 95 % intervals show how much a figure would vary with other images from the same sources.
    The intervals of `two_sample`, `floor`, `above_floor` and `head` keep the trained classifiers
    and vary the held-out images; that of `spread` varies all images. They do not include the
    variation from another training half, seed, model, space, or run of the generator.

    `two_sample` and `floor` share the held-out images of `real`, which are half of the test images
    of each. So their errors are correlated; `above_floor` takes this into account.

    Args:
        real: Features of real images, shape (images, D).
        other_real: Features of other real images, same shape.
        synthetic: Features of synthetic images, same shape.
        labels: Shape (images,): classes, the same in all three.
        seed: Seed of the training halves and of the bootstrap.
    """
    train, test = _halves(labels, seed=seed)
    with one_thread():
        gap = _two_sample(real, synthetic, train=train, test=test)
        floor = _two_sample(real, other_real, train=train, test=test)
        probe = _linear_probe(real, other_real, synthetic, labels=labels)
        spread = compare_spread(real, synthetic, labels=labels, seed=seed)
    return {
        "two_sample": _share(gap),
        "floor": _share(floor),
        "above_floor": _above(gap, floor, shared=test < len(labels)),
        "head": probe,
        "spread": spread,
    }


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


def _above(gap: Correct, floor: Correct, *, shared: Correct) -> dict[str, Any]:
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
    return {name: _share(probe.predict(x) == labels) for name, x in tested.items()}


def _counted(correct: Correct) -> tuple[int, int]:
    return int(correct.sum()), len(correct)


def _share(correct: Correct) -> dict[str, Any]:
    count, total = _counted(correct)
    interval = share_interval(count, total)
    return {
        "accuracy": count / total,
        "low": interval.low,
        "high": interval.high,
        "num_correct": count,
        "num_images": total,
    }


def embed(features: Features) -> Features:
    """Return t-SNE coordinates, shape (images, 2); the same features give the same ones.

    t-SNE starts from the first two principal components, so it needs no seed.
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
    """Limit linear algebra to one thread, so that results are the same every time."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
