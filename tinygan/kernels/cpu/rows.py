"""Loops over the rows of attention's scores: their softmax, and its gradient.

They are for float32; other numbers, and few of them, are NumPy's. A row is so short that it stays
in the nearest cache: passing over it again costs little. Each pass is a loop that becomes vector
code, which a sum in one variable would not: sums are made in LANES partial sums.
"""

import numpy as np

from .. import reference
from .compiler import jit, word
from .host import contiguous
from .memory import empty
from .smooth import exp
from .threads import split
from .thresholds import SMALL_LOOP

f4, i4 = np.float32, np.int32
LANES = 16  # partial sums of a row, whatever the processor
LEAST_INTEGER, MAGNITUDE, SIGN_SHIFT = i4(-(2**31)), i4(2**31 - 1), i4(31)


@jit
def _ordered(number):
    """The bits of a float32 as an integer, such that integers are in the order of the numbers; and
    back again. Below 0, where more bits are less, all but the sign turn around.
    """
    return i4(number ^ (i4(number >> SIGN_SHIFT) & MAGNITUDE))


@jit
def _largest(x):
    """The largest of x, or -NaN of none: among integers it becomes vector code."""
    top = LEAST_INTEGER
    for j in range(x.size):
        top = max(top, _ordered(f4(x[j]).view(np.int32)))
    return i4(_ordered(top)).view(np.float32)


@jit
def total(x, partial):
    """The sum of x, by way of LANES partial sums."""
    whole = x.size - x.size % LANES
    for v in range(LANES):
        partial[v] = 0
    for j in range(0, whole, LANES):
        for v in range(LANES):
            partial[v] += x[word(j + v)]
    for j in range(whole, x.size):
        partial[j - whole] += x[j]
    side = LANES // 2
    while side:
        for v in range(side):
            partial[v] += partial[v + side]
        side //= 2
    return partial[0]


@jit
def _softmax_rows(start, stop, x, queries, scale, out):
    """queries: how many rows come before the first begins again, if causal; else 0."""
    k = x.shape[1]
    partial = np.empty(LANES, f4)
    for i in range(start, stop):
        seen = min(i % queries + 1, k) if queries else k
        given, row = x[i, :seen], out[i, :seen]
        for j in range(seen):
            row[j] = given[j] * scale
        top = _largest(row)
        if top == -np.inf:
            out[i] = 0
            continue
        for j in range(seen):
            row[j] = exp(row[j] - top)
        inverse = f4(1) / total(row, partial)
        for j in range(seen):
            row[j] *= inverse
        out[i, seen:] = 0


def softmax_rows(x, scale, causal):
    if x.size < SMALL_LOOP or x.dtype != f4:
        return reference.softmax_rows(x, scale, causal)
    out = empty(x.shape, x.dtype)
    *_, queries, k = x.shape
    rows, to = contiguous(x).reshape(-1, k), out.reshape(-1, k)
    split(_softmax_rows, len(rows), 2 * x.size, rows, queries * causal, f4(scale), to)
    return out


@jit
def _softmax_rows_grad(start, stop, g, p, scale, out):
    partial = np.empty(LANES, f4)
    for i in range(start, stop):
        given, share, row = g[i], p[i], out[i]
        for j in range(row.size):
            row[j] = given[j] * share[j]
        mean = total(row, partial)
        for j in range(row.size):
            row[j] = scale * share[j] * (given[j] - mean)


def softmax_rows_grad(g, p, scale):
    if p.size < SMALL_LOOP or not g.dtype == p.dtype == f4:
        return reference.softmax_rows_grad(g, p, scale)
    out = empty(p.shape, p.dtype)
    g, p, to = (contiguous(a).reshape(-1, p.shape[-1]) for a in (g, p, out))
    split(_softmax_rows_grad, len(p), p.size, g, p, f4(scale), to)
    return out
