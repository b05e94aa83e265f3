"""How far apart two sets of points are: every measure here takes arrays of one point a row, and
knows no image and no network.

All of it runs on the host. Pairwise distances are made and used up in blocks of rows, so they never
need much memory.
"""

import numpy as np

from .. import kernels, random

BLOCK = 250  # rows of a matrix of distances that are held at once: 20 MB against 10,000 points


def check(name, least=1, **sets):
    """ValueError unless the sets of points are arrays (n, d) of finite numbers, n >= least, of the
    same d.
    """
    for which, x in sets.items():
        if x.ndim != 2 or len(x) < least:
            wanted = f"must be (n, d) with n of {least} or more"
            raise ValueError(f"{name}: {which} {wanted}, got {x.shape}")
        finite = np.isfinite(x).all(1)
        if not finite.all():
            wrong = len(x) - int(finite.sum())
            raise ValueError(
                f"{name}: {wrong} of the {len(x)} rows of {which} hold NaN or infinity, as a model "
                "that diverged makes them: judge an earlier checkpoint, or the other rows alone, "
                f"{which}[np.isfinite({which}).all(1)]"
            )
    if len({x.shape[1] for x in sets.values()}) > 1:
        shapes = " and ".join(f"{which} {x.shape}" for which, x in sets.items())
        raise ValueError(f"{name}: points need as many coordinates on both sides, got {shapes}")


def gaussian(x):
    """The mean (d,) and covariance (d, d) of points (n, d), n > 1."""
    check("gaussian", 2, x=x)
    mean = x.mean(0, dtype=np.float64)
    cov = np.cov(x, rowvar=False, dtype=np.float64)
    return mean, np.atleast_2d(cov)


def frechet(mean, cov, other_mean, other_cov):
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)), the squared 2-Wasserstein distance of two Gaussians
    (Heusel 2017, equation 6).

    The trace of (C C')^(1/2) is the sum of the singular values of C^(1/2) C'^(1/2). Estimates fall
    with the number of points.
    """
    one = {"mean": mean[None], "cov": cov}
    other = {"other_mean": other_mean[None], "other_cov": other_cov}
    check("frechet", **one, **other)
    apart = ((mean - other_mean) ** 2).sum()
    root = np.linalg.norm(_sqrt(cov) @ _sqrt(other_cov), "nuc")
    return float(apart + np.trace(cov) + np.trace(other_cov) - 2 * root)


def _sqrt(cov):
    values, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(values.clip(0)) @ vectors.T


def kid(x, y, subsets=10, size=1000, seed=0):
    """The kernel distance KID (Binkowski 2018) of points (n, d) and (m, d), and its standard error.

    The mean over disjoint random subsets of at most `size` points of the squared MMD, unbiased
    (Gretton 2012, equation 3), with the kernel (x.y / d + 1)^3. It is 0 on average for equal
    distributions, and so may be negative.
    """
    check("kid", x=x, y=y)
    size = min(size, len(x) // subsets, len(y) // subsets)
    if size < 2:
        raise ValueError(
            f"kid: {subsets} subsets need {2 * subsets} points or more, got {len(x)} and {len(y)}"
        )
    x = x[random.permutation(len(x), seed, 0)].astype(np.float64)
    y = y[random.permutation(len(y), seed, 1)].astype(np.float64)
    values = []
    for start in range(0, subsets * size, size):
        subset = slice(start, start + size)
        values.append(_mmd2(x[subset], y[subset]))
    error = np.std(values, ddof=1) / np.sqrt(subsets)
    return float(np.mean(values)), float(error)


def _mmd2(x, y):
    n, d = x.shape

    def kernel(a, b):
        return (a @ b.T / d + 1) ** 3

    # no point is paired with itself: that makes the estimate unbiased
    xx, yy = kernel(x, x), kernel(y, y)
    within = xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)
    return within / (n * (n - 1)) - 2 * kernel(x, y).mean()


def _blocks(x, y):
    """(rows, squared distances of x[rows] to all of y), rows a slice, in the precision of x.

    |x - y|^2 = |x|^2 - 2 x.y + |y|^2, so a block costs one matrix product.
    """
    x2 = np.einsum("ij,ij->i", x, x)
    y2 = np.einsum("ij,ij->i", y, y)
    for start in range(0, len(x), BLOCK):
        rows = slice(start, min(start + BLOCK, len(x)))
        squared = kernels.of(x).gemm(x[rows], y.T)
        squared *= -2
        squared += y2
        squared += x2[rows, None]
        yield rows, squared


def radii(x, k):
    """The squared distance, (n,), of each of the points (n, d) to its k-th nearest neighbour."""
    check("radii", x=x)
    if k < 1:
        raise ValueError(f"radii: k must be 1 or more, got {k}")
    if len(x) <= k:
        raise ValueError(f"radii: {k} neighbours need more than {k} points, got {len(x)}")
    out, x = np.empty(len(x)), x.astype(np.float64)
    for rows, squared in _blocks(x, x):
        own = np.arange(rows.start, rows.stop)
        squared[own - rows.start, own] = np.inf  # no point is its own neighbour
        out[rows] = np.partition(squared, k - 1)[:, k - 1]
    return out


def membership(points, centres, squared_radii):
    """In how many balls each of the points (n, d) lies, (n,), and in each ball how many, (m,).

    All kNN measures follow. With the balls of real digits around their k-th neighbours: precision
    is the share of samples in a ball, and recall is precision with the roles exchanged
    (Kynkäänniemi 2019, equations 1 and 2, k = 3); density is the number of balls a sample is in,
    over k, coverage the share of balls with a sample in them (Naeem 2020, section 3.2, k = 5).
    """
    check("membership", points=points, centres=centres)
    if squared_radii.shape != (len(centres),):
        wanted = f"{len(centres)} centres need as many squared_radii"
        raise ValueError(f"membership: {wanted}, got {squared_radii.shape}")
    balls = np.empty(len(points), np.int64)
    inside = np.zeros(len(centres), np.int64)
    points, centres = points.astype(np.float64), centres.astype(np.float64)
    for rows, squared in _blocks(points, centres):
        hits = squared <= squared_radii
        balls[rows] = hits.sum(1)
        inside += hits.sum(0)
    return balls, inside


def nearest(x, y):
    """For each row of x (n, d) the index of the nearest row of y (m, d), and their distance, exact:
    0 for a copy.
    """
    check("nearest", x=x, y=y)
    x = x.astype(np.float32, copy=False)
    y = y.astype(np.float32, copy=False)
    index = np.concatenate([squared.argmin(1) for _, squared in _blocks(x, y)])
    # the nearest distances are computed anew: a matrix product does not give 0 for a copy
    squared = (x - y[index]) ** 2
    return index, np.sqrt(squared.sum(1))


def copies(samples, held_out):
    """Whether a model memorised, from the distances (n,) of samples and of held-out points to their
    `nearest` training points.

    The ratio of their medians (near 1: as far as what is unseen; near 0: copies), and the share of
    samples nearer than all but 1 % of the held-out points: 0.01 where nothing was copied. If these
    1 % are copies themselves, as in a set that holds pictures twice, it is the share of copies. To
    compare these three sets is Meehan 2020's idea.
    """
    check("copies", samples=samples[:, None], held_out=held_out[:, None])
    ours, theirs = np.median(samples), np.median(held_out)
    ratio = ours / theirs if theirs > 0 else np.inf if ours > 0 else 1.0
    limit = np.quantile(held_out, 0.01)
    near = samples < limit if limit > 0 else samples == 0
    return float(ratio), float(near.mean())


def sliced_wasserstein(x, y, projections=256, seed=0):
    """The 2-Wasserstein distance along random directions, root mean square (Bonneel 2015), of
    points (n, d) and (m, d).

    Of sets that differ in size only as many points are used as the smaller one has.
    """
    check("sliced_wasserstein", x=x, y=y)
    n = min(len(x), len(y))
    directions = random.Generator(seed).normal((x.shape[1], projections))
    directions /= np.linalg.norm(directions, axis=0)

    def along(points):
        points = points[:n].astype(np.float32)
        return np.sort(kernels.of(points).gemm(points, directions), axis=0)

    squared = (along(x) - along(y)) ** 2
    return float(np.sqrt(squared.mean()))


def score(probabilities):
    """exp(mean KL(p(y|x) || p(y))) of (n, classes), from 1 to the number of classes (Salimans 2016,
    section 4).
    """
    check("score", probabilities=probabilities)
    p = probabilities.astype(np.float64)
    divergences = kl(p, p.mean(0))
    return float(np.exp(divergences.mean()))


def kl(p, q):
    """KL(p || q) in nats along the last axis, where 0 log 0 is 0; infinite where q alone is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = p * np.log(p / q)
    return np.where(p > 0, terms, 0).sum(-1)
