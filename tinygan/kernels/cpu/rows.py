"""Loops over rows: the softmax of attention's scores, its logarithm at a label and layer
normalisation, and gradients; rotary places; and what adds rows to a table's.

The former are for float32; other numbers, and few of them, are NumPy's. A row is so short that it
stays in the nearest cache: passing over it again costs little. So each pass does one thing, and
becomes vector code; what is between two passes stands in a row of its own. Arrays are flat here,
and row i begins at i times the length of a row: a slice for each would have its references counted.
"""

import math

import numpy as np

from .. import reference
from .compiler import TYPES, jit, word
from .host import contiguous
from .memory import empty
from .microkernel import LANES, sum_of_lanes
from .packing import address
from .smooth import exp
from .threads import split
from .thresholds import COLUMN_SUMS as PARTS
from .thresholds import SMALL_LOOP

f4, i4 = np.float32, np.int32
ZERO, ONE, LEAST = f4(0), f4(1), f4(-np.inf)
LEAST_INTEGER, MAGNITUDE, SIGN_SHIFT = i4(-(2**31)), i4(2**31 - 1), i4(31)


@jit
def _ordered(bits):
    """The bits of a float32 as an integer, such that integers are in the order of the numbers; and
    back again. Below 0, where more bits are less, all but the sign turn around.
    """
    return i4(bits ^ (i4(bits >> SIGN_SHIFT) & MAGNITUDE))


@jit
def _largest(x, start, stop):
    """The largest of x[start:stop]. Among whole numbers the search becomes vector code."""
    top = LEAST_INTEGER
    for j in range(start, stop):
        top = max(top, _ordered(f4(x[word(j)]).view(np.int32)))
    return i4(_ordered(top)).view(np.float32)


@jit
def _total(x, start, stop):
    """The sum of x[start:stop]."""
    whole = (stop - start) // LANES
    total = sum_of_lanes(address(x, start), whole)
    for j in range(start + whole * LANES, stop):
        total += x[word(j)]
    return total


@jit
def _softmax_rows(start, stop, x, k, queries, scale, out):
    """queries: how many rows there are before the first begins again, if causal; else 0."""
    for i in range(start, stop):
        first = i * k
        seen = first + (min(i % queries + 1, k) if queries else k)
        # to whole vectors, what is not seen is -inf at first, which adds nothing
        end = first + min((seen - first + LANES - 1) // LANES * LANES, k)
        for j in range(first, end):
            out[word(j)] = x[word(j)] * scale if j < seen else LEAST
        largest = _largest(out, first, end)
        shift = largest if largest != LEAST else ZERO
        for j in range(first, end):
            out[word(j)] = exp(out[word(j)] - shift)
        total = _total(out, first, end)
        inverse = ONE / total if total != ZERO else ZERO
        for j in range(first, end):
            out[word(j)] = out[word(j)] * inverse if j < seen else ZERO  # beside a NaN too
        for j in range(end, first + k):
            out[word(j)] = 0


def softmax_rows(x, scale, causal):
    if x.size < SMALL_LOOP or x.dtype != f4:
        return reference.softmax_rows(x, scale, causal)
    out = empty(x.shape, x.dtype)
    *_, queries, k = x.shape
    queries = queries if causal else 0
    rows, to = contiguous(x).reshape(-1), out.reshape(-1)
    split(_softmax_rows, x.size // k, 2 * x.size, rows, k, queries, f4(scale), to)
    return out


@jit
def _softmax_rows_grad(start, stop, g, p, k, scale, out):
    for i in range(start, stop):
        first, end = i * k, (i + 1) * k
        for j in range(first, end):
            out[word(j)] = g[word(j)] * p[word(j)]
        mean = _total(out, first, end)
        for j in range(first, end):
            out[word(j)] = scale * p[word(j)] * (g[word(j)] - mean)


def softmax_rows_grad(g, p, scale):
    if p.size < SMALL_LOOP or not g.dtype == p.dtype == f4:
        return reference.softmax_rows_grad(g, p, scale)
    out = empty(p.shape, p.dtype)
    k = p.shape[-1]
    g, p, to = (contiguous(a).reshape(-1) for a in (g, p, out))
    split(_softmax_rows_grad, p.size // k, p.size, g, p, k, f4(scale), to)
    return out


@jit
def _log_softmax_at(start, stop, x, k, index, out):
    e = np.empty(k, f4)
    for i in range(start, stop):
        first = i * k
        largest = _largest(x, first, first + k)
        for j in range(k):
            e[j] = exp(x[word(first + j)] - largest)
        out[i] = x[first + index[i]] - largest - f4(math.log(_total(e, 0, k)))


def log_softmax_at(x, index):
    if x.size < SMALL_LOOP or x.dtype != f4:
        return reference.log_softmax_at(x, index)
    out = empty(index.shape, x.dtype)
    rows = contiguous(x).reshape(-1)
    split(_log_softmax_at, len(x), 2 * x.size, rows, x.shape[1], contiguous(index), out)
    return out


@jit
def _turn(start, stop, x, cos, sin, out):
    places, half = cos.shape
    for i in range(start, stop):
        place, first = i % places, 2 * half * i
        for j in range(half):
            a, b = x[word(first + j)], x[word(first + half + j)]
            out[word(first + j)] = a * cos[place, j] - b * sin[place, j]
            out[word(first + half + j)] = b * cos[place, j] + a * sin[place, j]


def turn(x, cos, sin):
    if _numpys(x, cos):
        return reference.turn(x, cos, sin)
    out = empty(x.shape, x.dtype)
    rows, to = contiguous(x).reshape(-1), out.reshape(-1)
    split(_turn, x.size // x.shape[-1], x.size, rows, cos, sin, to)
    return out


def _numpys(x, *others):
    return x.size < SMALL_LOOP or any(a.dtype != f4 for a in (x, *others))


@jit
def _layer_norm(start, stop, x, weight, bias, eps, out):
    d = weight.size
    square = np.empty(d, f4)
    for i in range(start, stop):
        first, end = i * d, (i + 1) * d
        mean = _total(x, first, end) / d
        for j in range(d):
            apart = x[word(first + j)] - mean
            out[word(first + j)] = apart
            square[j] = apart * apart
        inv = f4(1 / math.sqrt(_total(square, 0, d) / d + eps))
        for j in range(d):
            out[word(first + j)] = weight[j] * (out[word(first + j)] * inv) + bias[j]


def layer_norm(x, weight, bias, eps):
    if _numpys(x, weight, bias):
        return reference.layer_norm(x, weight, bias, eps)
    out = empty(x.shape, x.dtype)
    rows, to = contiguous(x).reshape(-1), out.reshape(-1)
    split(_layer_norm, len(x), 2 * x.size, rows, weight, bias, f4(eps), to)
    return out


@jit
def _layer_norm_grad(start, stop, g, x, weight, eps, out, sums):
    """Part k of the rows adds to row k of both tables of sums."""
    sum_gx, sum_g = sums
    parts, d = sum_g.shape
    rows = x.size // d
    normal, product, change = np.empty((3, d), f4)
    for k in range(start, stop):
        for i in range(k * rows // parts, (k + 1) * rows // parts):
            first = i * d
            mean = _total(x, first, first + d) / d
            for j in range(d):
                apart = x[word(first + j)] - mean
                normal[j] = apart
                product[j] = apart * apart
            inv = f4(1 / math.sqrt(_total(product, 0, d) / d + eps))
            for j in range(d):
                normal[j] *= inv
            for j in range(d):
                sum_g[k, j] += g[word(first + j)]
            for j in range(d):
                sum_gx[k, j] += g[word(first + j)] * normal[j]
            for j in range(d):
                change[j] = g[word(first + j)] * weight[j]
            for j in range(d):
                product[j] = change[j] * normal[j]
            along, mean = _total(product, 0, d) / d, _total(change, 0, d) / d
            for j in range(d):
                out[word(first + j)] = inv * (change[j] - mean - normal[j] * along)


def layer_norm_grad(g, x, weight, eps):
    if _numpys(x, g, weight):
        return reference.layer_norm_grad(g, x, weight, eps)
    out = empty(x.shape, x.dtype)
    sums = np.zeros((2, PARTS, x.shape[1]), x.dtype)
    g, x, to = (contiguous(a).reshape(-1) for a in (g, x, out))
    split(_layer_norm_grad, PARTS, 4 * x.size, g, x, weight, f4(eps), to, (sums[0], sums[1]))
    return out, sums[0].sum(0), sums[1].sum(0)


@jit
def _index_add(x, index, g):
    for i in range(index.size):
        at = index[i]
        for j in range(x.shape[1]):
            x[at, j] += g[i, j]


def index_add(x, index, g):
    """Rows of a table, as an embedding's gradient, by a loop; all else is NumPy's."""
    integers = getattr(index, "dtype", None) in (np.int32, np.int64)
    rows = integers and index.size and index.min() >= 0
    fits = rows and x.ndim == 2 and g.shape == (*index.shape, x.shape[1]) and g.size >= SMALL_LOOP
    if not fits or x.dtype not in TYPES or g.dtype != x.dtype or index.max() >= len(x):
        reference.index_add(x, index, g)
    else:
        _index_add(x, contiguous(index).reshape(-1), contiguous(g).reshape(-1, x.shape[1]))
