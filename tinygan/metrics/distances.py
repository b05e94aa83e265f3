"""How far apart two sets of points are: every measure here takes arrays of one point a row, and
knows no image and no network.

All of it runs on the host. Pairwise distances are made and used up in blocks of rows, so they never
need much memory.
"""

import numpy as np

from .. import kernels, random

BLOCK = 250  # rows of a matrix of distances that are held at once: 20 MB against 10,000 points


def check(name, least=1, **sets):
    """ValueError unless the sets of points are arrays (n, d) of finite numbers, n >= least, and of
    one d.
    """
    for which, x in sets.items():
        if x.ndim != 2 or len(x) < least:
            wanted = f"must be (n, d) with n of {least} or more"
            raise ValueError(f"{name}: {which} {wanted}, got {x.shape}")
        wrong = int((~np.isfinite(x).all(1)).sum())
        if wrong:
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
    return x.mean(0, dtype=np.float64), np.atleast_2d(np.cov(x, rowvar=False, dtype=np.float64))


def frechet(mean, cov, other_mean, other_cov):
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)), the squared 2-Wasserstein distance of two Gaussians
    (Heusel 2017, equation 6).

    The trace of (C C')^(1/2) is the sum of the singular values of C^(1/2) C'^(1/2). Estimates fall
    with the number of points.
    """
    given = {"mean": mean[None], "cov": cov, "other_mean": other_mean[None], "other_cov": other_cov}
    check("frechet", **given)
    root = np.linalg.norm(_sqrt(cov) @ _sqrt(other_cov), "nuc")
    return float(((mean - other_mean) ** 2).sum() + np.trace(cov) + np.trace(other_cov) - 2 * root)


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
    x, y = (
        a[random.permutation(len(a), seed, epoch)].astype(np.float64)
        for epoch, a in enumerate((x, y))
    )
    parts = [slice(i * size, (i + 1) * size) for i in range(subsets)]
    values = [_mmd2(x[p], y[p]) for p in parts]
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(subsets))


def _mmd2(x, y):
    n, d = x.shape
    xx, yy, xy = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    return (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (n * (n - 1)) - 2 * xy.mean()


def _blocks(x, y):
    """(rows, squared distances of x[rows] to all of y), rows a slice, in the precision of x: one
    product a block.
    """
    x2, y2 = (np.einsum("ij,ij->i", a, a) for a in (x, y))
    for start in range(0, len(x), BLOCK):
        rows = slice(start, min(start + BLOCK, len(x)))
        squared = kernels.of(x).gemm(x[rows], y.T)
        squared *= -2
        squared += y2
        squared += x2[rows, None]
        yield rows, squared


def radii(x, k):
    """The squared distance of each of the points (n, d) to its k-th nearest neighbour among the
    others, (n,).
    """
    check("radii", x=x)
    if k < 1:
        raise ValueError(f"radii: k must be 1 or more, got {k}")
    if len(x) <= k:
        raise ValueError(f"radii: {k} neighbours need more than {k} points, got {len(x)}")
    out = np.empty(len(x))
    for rows, squared in _blocks(x.astype(np.float64), x.astype(np.float64)):
        # no point is its own neighbour
        squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = np.inf
        out[rows] = np.partition(squared, k - 1)[:, k - 1]
    return out


def membership(points, centres, squared_radii):
    """In how many balls each of the points (n, d) lies, (n,), and how many points lie in each ball,
    (m,).

    All kNN measures follow. With the balls of real digits around their k-th neighbours: precision
    is the share of samples in a ball, and recall is precision with the roles exchanged
    (Kynkäänniemi 2019, equations 1 and 2, k = 3); density is the number of balls a sample lies in,
    over k, coverage the share of balls with a sample in them (Naeem 2020, section 3.2, k = 5).
    """
    check("membership", points=points, centres=centres)
    if squared_radii.shape != (len(centres),):
        wanted = f"{len(centres)} centres need as many squared_radii"
        raise ValueError(f"membership: {wanted}, got {squared_radii.shape}")
    balls, inside = np.empty(len(points), np.int64), np.zeros(len(centres), np.int64)
    for rows, squared in _blocks(points.astype(np.float64), centres.astype(np.float64)):
        hits = squared <= squared_radii
        balls[rows] = hits.sum(1)
        inside += hits.sum(0)
    return balls, inside


def nearest(x, y):
    """For each row of x (n, d) the index of the nearest row of y (m, d), and their distance, exact:
    0 for a copy.
    """
    check("nearest", x=x, y=y)
    x, y = x.astype(np.float32, copy=False), y.astype(np.float32, copy=False)
    index = np.concatenate([squared.argmin(1) for _, squared in _blocks(x, y)])
    return index, np.sqrt(((x - y[index]) ** 2).sum(1))


def copies(samples, held_out):
    """Whether a model memorised, from the distances (n,) of samples and of held-out points to their
    `nearest` training points.

    The ratio of their medians (near 1: as far as what is unseen; near 0: copies), and the share of
    samples nearer than all but 1 % of the held-out points: 0.01 where nothing was copied. To
    compare these three sets is Meehan 2020's idea.
    """
    check("copies", samples=samples[:, None], held_out=held_out[:, None])
    ratio = np.median(samples) / np.median(held_out)
    return float(ratio), float((samples < np.quantile(held_out, 0.01)).mean())


def sliced_wasserstein(x, y, projections=256, seed=0):
    """The 2-Wasserstein distance along random directions, root mean square (Bonneel 2015), of
    points (n, d) and (m, d).

    Of sets that differ in size only as many points are used as the smaller one has.
    """
    check("sliced_wasserstein", x=x, y=y)
    n = min(len(x), len(y))
    directions = random.Generator(seed).normal((x.shape[1], projections))
    directions /= np.linalg.norm(directions, axis=0)
    x, y = (
        np.sort(kernels.of(a).gemm(a[:n].astype(np.float32), directions), axis=0) for a in (x, y)
    )
    return float(np.sqrt(((x - y) ** 2).mean()))


def score(probabilities):
    """exp(mean KL(p(y|x) || p(y))), from 1 to the number of classes (Salimans 2016, section 4), of
    (n, classes).
    """
    check("score", probabilities=probabilities)
    p = probabilities.astype(np.float64)
    return float(np.exp(kl(p, p.mean(0)).mean()))


def kl(p, q):
    """KL(p || q) in nats along the last axis, where 0 log 0 is 0; infinite where q alone is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0, p * np.log(p / q), 0).sum(-1)
