"""Coordinates of images in a plane, by t-SNE of their features."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float64]

_COMPONENTS = 50


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
