"""Loops over the numbers of each sample: what group normalisation is made of.

Samples are (n, p, c), p pixels of c channels, and what belongs to a sample's channels is (n, c). A
core takes whole samples, which mostly fit its nearest cache: passing over one twice costs little.
"""

import numpy as np

from .. import reference
from .compiler import TYPES, jit
from .host import contiguous
from .memory import empty
from .threads import split
from .thresholds import SMALL_LOOP


def _numpys(x, *others):
    """Whether NumPy does it: few numbers, or those that no loop is compiled for."""
    return x.size < SMALL_LOOP or x.dtype not in TYPES or any(a.dtype != x.dtype for a in others)


@jit
def _moments(start, stop, x, mean, var):
    n, p, c = x.shape
    total, square = np.empty((2, c), x.dtype)
    for b in range(start, stop):
        total[:] = 0
        for i in range(p):
            for j in range(c):
                total[j] += x[b, i, j]
        for j in range(c):
            mean[b, j] = total[j] / p
            total[j] = square[j] = 0
        for i in range(p):
            for j in range(c):
                d = x[b, i, j] - mean[b, j]
                total[j] += d
                square[j] += d * d
        for j in range(c):  # what rounding left of the distances from the mean corrects it
            shift = total[j] / p
            mean[b, j] += shift
            var[b, j] = max(square[j] / p - shift * shift, 0)


def sample_moments(x):
    if _numpys(x):
        return reference.sample_moments(x)
    n, p, c = x.shape
    mean, var = np.empty((2, n, c), x.dtype)
    split(_moments, n, 2 * x.size, contiguous(x), mean, var)
    return mean, var


@jit
def _sums(start, stop, g, x, center, sums):
    n, p, c = x.shape
    total, product = np.empty((2, c), x.dtype)
    for b in range(start, stop):
        total[:] = product[:] = 0
        for i in range(p):
            for j in range(c):
                total[j] += g[b, i, j]
                product[j] += g[b, i, j] * (x[b, i, j] - center[b, j])
        sums[0, b] = total
        sums[1, b] = product


def sample_sums(g, x, center):
    if _numpys(x, g, center):
        return reference.sample_sums(g, x, center)
    n, p, c = x.shape
    sums = np.empty((2, n, c), x.dtype)
    split(_sums, n, 2 * x.size, contiguous(g), contiguous(x), contiguous(center), sums)
    return sums[0], sums[1]


@jit
def _affine(start, stop, x, coefficients, out):
    center, scale, shift = coefficients
    n, p, c = x.shape
    for b in range(start, stop):
        for i in range(p):
            for j in range(c):
                out[b, i, j] = scale[b, j] * (x[b, i, j] - center[b, j]) + shift[b, j]


@jit
def _affine_pair(start, stop, x, coefficients, g, of_g, out):
    center, scale, shift = coefficients
    n, p, c = x.shape
    for b in range(start, stop):
        for i in range(p):
            for j in range(c):
                affine = scale[b, j] * (x[b, i, j] - center[b, j]) + shift[b, j]
                out[b, i, j] = affine + of_g[b, j] * g[b, i, j]


def sample_affine(x, center, scale, shift, g=None, of_g=None):
    arrays = [center, scale, shift] + ([] if g is None else [g, of_g])
    if _numpys(x, *arrays):
        return reference.sample_affine(x, center, scale, shift, g, of_g)
    x, out = contiguous(x), empty(x.shape, x.dtype)
    arrays = [contiguous(a) for a in arrays]
    loop = _affine if g is None else _affine_pair
    split(loop, len(x), x.size, x, tuple(arrays[:3]), *arrays[3:], out)
    return out
