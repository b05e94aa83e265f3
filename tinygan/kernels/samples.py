"""More of the reference: what group normalisation is made of, with numbers for each sample.

x is (n, p, c), p pixels of c channels, and what belongs to a sample's channels is (n, c).
"""


def sample_moments(x):
    """Mean and biased variance of each sample's columns: (n, p, c) -> (n, c), (n, c)."""
    return x.mean(axis=1), x.var(axis=1)


def sample_sums(g, x, center):
    """Sums over each sample's rows, of g and of g * (x - center): (n, p, c) -> (n, c), (n, c).

    center: (n, c).
    """
    return g.sum(axis=1), (g * (x - center[:, None])).sum(axis=1)


def sample_affine(x, center, scale, shift, g=None, of_g=None):
    """scale * (x - center) + shift, plus of_g * g if there is g: (n, p, c) -> (n, p, c).

    center, scale, shift and of_g: (n, c), numbers for each column of each sample.
    """
    out = scale[:, None] * (x - center[:, None]) + shift[:, None]
    return out if g is None else out + of_g[:, None] * g
