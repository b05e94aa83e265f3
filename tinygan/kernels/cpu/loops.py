"""Loops over every number: the leaky rectifier, and what batch normalisation is made of.

A table here is (rows, c), and its columns are channels. Sums over the rows are made in PARTS
partial sums, each over its share of the rows, whatever the number of cores: part k takes the rows
from k * rows // PARTS to (k + 1) * rows // PARTS.
"""

import math

import numpy as np

from .. import reference
from ..layout import dense, flat
from .compiler import TYPES, jit
from .host import contiguous, empty_like, like
from .memory import empty
from .threads import split
from .thresholds import COLUMN_SUMS as PARTS
from .thresholds import SMALL_LOOP


def _numpys(x):
    """Whether NumPy does it: as fast with few numbers, and all there is for float16 or integers."""
    return x.size < SMALL_LOOP or x.dtype not in TYPES


@jit
def _leaky(start, stop, x, at, slope, out):
    x, at, out = x[start:stop], at[start:stop], out[start:stop]
    zero = x.dtype.type(0)
    for i in range(x.size):
        # not ">": a NaN goes through, as it does in the reference
        out[i] = x[i] if not at[i] <= zero else (x[i] * slope if slope != zero else zero)


def leaky(x, at, slope):
    if _numpys(at) or x.dtype not in TYPES:
        return reference.leaky(x, at, slope)
    at = at if dense(at) else contiguous(at)
    out = empty_like(at)
    split(_leaky, at.size, at.size, flat(like(x, at)), flat(at), x.dtype.type(slope), flat(out))
    return out


@jit
def _moments(start, stop, x, total, square):
    rows, c = x.shape
    for k in range(start, stop):
        for i in range(k * rows // PARTS, (k + 1) * rows // PARTS):
            for j in range(c):
                d = x[i, j] - x[0, j]  # shifted by the first row, so that the squares do not cancel
                total[k, j] += d
                square[k, j] += d * d


def moments(x):
    if _numpys(x):
        return reference.moments(x)
    x, rows = contiguous(x), len(x)
    total, square = np.zeros((2, PARTS, x.shape[1]), x.dtype)
    split(_moments, PARTS, x.size, x, total, square)
    shift = total.sum(0) / rows
    # the variance about the first row, less the square of the mean's distance from it
    return x[0] + shift, np.maximum(square.sum(0) / rows - shift * shift, 0)


@jit
def _column_sums(start, stop, x, total):
    rows, c = x.shape
    for k in range(start, stop):
        for i in range(k * rows // PARTS, (k + 1) * rows // PARTS):
            for j in range(c):
                total[k, j] += x[i, j]


def column_sums(x):
    if _numpys(x):
        return reference.column_sums(x)
    rows, c = x.shape
    # with few columns, so many rows side by side as one: the inner loop should be long
    fold = math.gcd(rows, 64) if c < 16 else 1
    total = np.zeros((PARTS, fold * c), x.dtype)
    split(_column_sums, PARTS, x.size, contiguous(x).reshape(rows // fold, fold * c), total)
    return total.reshape(PARTS * fold, c).sum(0)


@jit
def _affine(start, stop, x, scale, shift, out):
    for i in range(start, stop):
        for j in range(x.shape[1]):
            out[i, j] = scale[j] * x[i, j] + shift[j]


def affine(x, scale, shift):
    if _numpys(x):
        return reference.affine(x, scale, shift)
    out = empty(x.shape, x.dtype)
    split(_affine, len(x), x.size, contiguous(x), scale, shift, out)
    return out


@jit
def _norm_sums(start, stop, g, x, statistics, sums):
    mean, inv = statistics
    sum_g, sum_gx = sums
    rows, c = x.shape
    for k in range(start, stop):
        for i in range(k * rows // PARTS, (k + 1) * rows // PARTS):
            for j in range(c):
                sum_g[k, j] += g[i, j]
                sum_gx[k, j] += g[i, j] * ((x[i, j] - mean[j]) * inv[j])


def norm_sums(g, x, mean, inv):
    if _numpys(x):
        return reference.norm_sums(g, x, mean, inv)
    sum_g, sum_gx = np.zeros((2, PARTS, x.shape[1]), x.dtype)
    g, x = contiguous(g), contiguous(x)
    split(_norm_sums, PARTS, x.size, g, x, (mean, inv), (sum_g, sum_gx))
    return sum_g.sum(0), sum_gx.sum(0)


@jit
def _norm_grad(start, stop, g, x, coefficients, out):
    of_g, of_x, constant = coefficients
    for i in range(start, stop):
        for j in range(x.shape[1]):
            out[i, j] = of_g[j] * g[i, j] + of_x[j] * x[i, j] + constant[j]


def norm_grad(g, x, mean, inv, weight, sum_g, sum_gx):
    if _numpys(x):
        return reference.norm_grad(g, x, mean, inv, weight, sum_g, sum_gx)
    # scale * (g - sum_g / rows - (x - mean) * inv * sum_gx / rows), gathered by powers of x
    scale = weight * inv
    slope = -scale * inv * sum_gx / len(x)
    constant = -scale * sum_g / len(x) - slope * mean
    g, x, out = contiguous(g), contiguous(x), empty(x.shape, x.dtype)
    split(_norm_grad, len(x), x.size, g, x, (scale, slope, constant), out)
    return out
