"""Vendi score: how many different images a sample has."""

import numpy as np

from eval.coverage.jackknife import NUM_BLOCKS, Floats, Integers, kept


def vendi(x: Floats, blocks: Integers) -> Floats:
    """Return the Vendi score of all images, and without each block.

    It is the exponential of the entropy of the eigenvalues of K / n, with the cosine similarities K
    (D. Friedman and A. B. Dieng, "The Vendi score", TMLR 2023): 1 if all images are the same, n if
    all are orthogonal. It needs no real images. It depends on n, so only values for the same n can
    be compared.

    Args:
        x: Features, shape (n, D).
        blocks: Shape (n,): block of each image.
    """
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    if not norms.all():
        # An image without a direction is similar to none, not even itself.
        return np.full(1 + NUM_BLOCKS, np.nan)
    return np.array([_vendi((x / norms)[mask]) for mask in kept(blocks)])


def _vendi(unit: Floats) -> float:
    # K and the smaller of both products have the same eigenvalues but zeros.
    products = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    shares = np.linalg.eigvalsh(products / len(unit))
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
