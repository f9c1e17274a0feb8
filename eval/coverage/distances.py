"""Frechet distance and kernel distance of two samples of features."""

import numpy as np

from eval.coverage.jackknife import NUM_BLOCKS, Floats, Integers, kept

_CHUNK = 1024


def frechet(one: Floats, other: Floats, blocks: Integers) -> Floats:
    """Return the Frechet distance of two samples, of all images and without each block.

    It is that of M. Heusel et al., "GANs trained by a two time-scale update rule converge to a
    local Nash equilibrium", NeurIPS 2017, on the given features: the squared distance of two
    normal distributions with the samples' means and covariances. It is biased: the fewer images,
    the larger (M. J. Chong and D. Forsyth, CVPR 2020). So only values for the same number of images
    can be compared.

    Args:
        one: Shape (n, D).
        other: Shape (n, D).
        blocks: Shape (n,): block of each position, for both.
    """
    return np.array([_frechet(one[mask], other[mask]) for mask in kept(blocks)])


def _frechet(one: Floats, other: Floats) -> float:
    """Return the distance without a matrix root, which fails for singular covariances.

    With centred rows A and B, the trace of the root of the product of the covariances A'A and B'B
    is the sum of the singular values of AB'.
    """
    a, b = (_centred(side) for side in (one, other))
    apart = one.mean(axis=0) - other.mean(axis=0)
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(max(apart @ apart + (a**2).sum() + (b**2).sum() - 2 * shared, 0.0))


def _centred(x: Floats) -> Floats:
    """Return at most D rows whose products with themselves are the covariance."""
    rows: Floats = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
    if len(rows) > rows.shape[1]:
        rows = np.asarray(np.linalg.qr(rows, mode="r"))
    return rows


def kernel_distance(one: Floats, other: Floats, blocks: Integers) -> Floats:
    """Return the kernel distance (KID), of all images and without each block.

    It is the squared maximum mean discrepancy with the kernel (x'y / D + 1) ** 3 (M. Binkowski et
    al., "Demystifying MMD GANs", ICLR 2018), by the unbiased estimator of A. Gretton et al., "A
    kernel two-sample test", JMLR 13: 723-773, 2012, equation 4. All pairs of positions are used:
    averages over random subsets vary more. For samples of the same distribution the expectation
    is 0, so it can be negative.

    Their equation 3, which also compares images at the same position, would be biased here: classes
    have fixed sizes, so two images of one sample are less often of one class than two of different
    samples.

    Args:
        one: Shape (n, D).
        other: Shape (n, D), with the same class at each position.
        blocks: Shape (n,): block of each position, for both.
    """
    members = np.eye(NUM_BLOCKS)[blocks]
    own, others, both = (
        _block_sums(a, b, members) for a, b in ((one, one), (other, other), (one, other))
    )
    sums = own + others - both - both.T
    sizes = members.sum(axis=0)
    found = []
    for place in range(-1, NUM_BLOCKS):
        keep = np.arange(NUM_BLOCKS) != place
        n = sizes[keep].sum()
        found.append(sums[np.ix_(keep, keep)].sum() / (n * (n - 1)))
    return np.array(found)


def _block_sums(one: Floats, other: Floats, members: Floats) -> Floats:
    """Return the sums of the kernel over pairs of positions, by block, shape (blocks, blocks)."""
    total = np.zeros((NUM_BLOCKS, NUM_BLOCKS))
    for start in range(0, len(one), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(one)))
        kernel = (one[rows] @ other.T / one.shape[1] + 1) ** 3
        kernel[rows - start, rows] = 0
        total += members[rows].T @ kernel @ members
    return total
