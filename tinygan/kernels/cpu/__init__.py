"""The raw functions for NumPy arrays, their loops compiled by Numba. `reference` says what each one
means.

Each loop is a plain function of (start, stop, ...), compiled on the line below it and kept on disk
(`compiler`), above the raw function that hands each core a part of it. Parts write to separate places
and sums are made in fixed blocks: a result does not depend on the number of cores. Matrix products
and convolutions have files of their own: `matmul`, `conv_direct`, `conv_fft`.
"""

import math

import numpy as np

from .. import reference
from ..layout import dense, flat
from ..reference import col2im, im2col, index_add  # noqa: F401  (the first two for whoever asks)
from . import conv_direct, conv_fft
from .host import contiguous, elementwise, empty_like, like  # noqa: F401
from .compiler import TYPES, jit
from .matmul import gemm  # noqa: F401
from .memory import empty
from .threads import split

SMALL = 1 << 12  # below so many elements a NumPy expression is as fast

# an index that cannot be negative: Numba need not wrap it around, and the loop becomes vector code
word = np.uintp


def conv(x, w, size, stride, padding, dilation, bias=None):
    geometry = size, stride, padding, dilation
    return _route(x, w, x.shape, w.shape, *geometry).conv(x, w, *geometry, bias)


def conv_transpose(y, w, size, stride, padding, dilation, bias=None):
    geometry = stride, padding, dilation
    route = _route(y, w, (len(y), *size, w.shape[2]), w.shape, y.shape[1:3], *geometry)
    return route.conv_transpose(y, w, size, *geometry, bias)


def conv_filter(x, y, size, stride, padding, dilation):
    geometry = stride, padding, dilation
    route = _route(x, y, x.shape, (*size, x.shape[3], y.shape[3]), y.shape[1:3], *geometry)
    return route.conv_filter(x, y, size, *geometry)


def _route(a, b, image, filters, size, stride, padding, dilation):
    """The module whose conv, conv_transpose and conv_filter serve arrays a and b best: with the
    fewest multiplications.
    """
    (n, h, w, c), (kh, kw, _, o), positions = image, filters, size[0] * size[1]
    if not a.size * b.size or a.dtype != b.dtype or a.dtype not in TYPES:
        return reference
    if a.dtype.char == "d" or stride != (1, 1) or dilation != (1, 1):
        return conv_direct
    # three for a frequency and its conjugate
    numbers = 1.5 * math.prod(conv_fft.periods((h, w), padding))
    through = numbers * (n * h * w * c + n * positions * o + kh * kw * c * o + n * c * o)
    return conv_fft if 2 * through < n * positions * kh * kw * c * o else conv_direct


def _plain(x):
    """Whether NumPy alone is as fast, with few numbers, or all there is: for float16, integers."""
    return x.size < SMALL or x.dtype not in TYPES


def _leaky(start, stop, x, at, slope, out):
    x, at, out, zero = x[start:stop], at[start:stop], out[start:stop], x.dtype.type(0)
    for i in range(x.size):
        out[i] = x[i] if not at[i] <= zero else (x[i] * slope if slope != zero else zero)


_leaky = jit(_leaky)


def leaky(x, at, slope):
    if _plain(at) or x.dtype not in TYPES:
        return reference.leaky(x, at, slope)
    at = at if dense(at) else contiguous(at)
    out = empty_like(at)
    split(_leaky, at.size, at.size, flat(like(x, at)), flat(at), x.dtype.type(slope), flat(out))
    return out


BLOCKS = 16  # partial sums per column


def _moments(start, stop, x, total, square):
    rows, c = x.shape
    for k in range(start, stop):
        for i in range(k * rows // BLOCKS, (k + 1) * rows // BLOCKS):
            for j in range(c):
                d = x[i, j] - x[0, j]  # shifted by the first row, so that the squares do not cancel
                total[k, j] += d
                square[k, j] += d * d


_moments = jit(_moments)


def moments(x):
    if _plain(x):
        return reference.moments(x)
    x, rows = contiguous(x), len(x)
    total, square = np.zeros((2, BLOCKS, x.shape[1]), x.dtype)
    split(_moments, BLOCKS, x.size, x, total, square)
    shift = total.sum(0) / rows
    return x[0] + shift, np.maximum(square.sum(0) / rows - shift * shift, 0)


def _column_sums(start, stop, x, total):
    rows, c = x.shape
    for k in range(start, stop):
        for i in range(k * rows // BLOCKS, (k + 1) * rows // BLOCKS):
            for j in range(c):
                total[k, j] += x[i, j]


_column_sums = jit(_column_sums)


def column_sums(x):
    if _plain(x):
        return reference.column_sums(x)
    rows, c = x.shape
    # so many rows side by side: the inner loop should be long
    fold = math.gcd(rows, 64) if c < 16 else 1
    total = np.zeros((BLOCKS, fold * c), x.dtype)
    split(_column_sums, BLOCKS, x.size, contiguous(x).reshape(rows // fold, fold * c), total)
    return total.reshape(BLOCKS * fold, c).sum(0)


def _affine(start, stop, x, scale, shift, out):
    for i in range(start, stop):
        for j in range(x.shape[1]):
            out[i, j] = scale[j] * x[i, j] + shift[j]


_affine = jit(_affine)


def affine(x, scale, shift):
    if _plain(x):
        return reference.affine(x, scale, shift)
    out = empty(x.shape, x.dtype)
    split(_affine, len(x), x.size, contiguous(x), scale, shift, out)
    return out


def _norm_sums(start, stop, g, x, mean, inv, sum_g, sum_gx):
    rows, c = x.shape
    for k in range(start, stop):
        for i in range(k * rows // BLOCKS, (k + 1) * rows // BLOCKS):
            for j in range(c):
                sum_g[k, j] += g[i, j]
                sum_gx[k, j] += g[i, j] * ((x[i, j] - mean[j]) * inv[j])


_norm_sums = jit(_norm_sums)


def norm_sums(g, x, mean, inv):
    if _plain(x):
        return reference.norm_sums(g, x, mean, inv)
    sum_g, sum_gx = np.zeros((2, BLOCKS, x.shape[1]), x.dtype)
    split(_norm_sums, BLOCKS, x.size, contiguous(g), contiguous(x), mean, inv, sum_g, sum_gx)
    return sum_g.sum(0), sum_gx.sum(0)


def _norm_grad(start, stop, g, x, scale, slope, shift, out):
    for i in range(start, stop):
        for j in range(x.shape[1]):
            out[i, j] = scale[j] * g[i, j] + slope[j] * x[i, j] + shift[j]


_norm_grad = jit(_norm_grad)


def norm_grad(g, x, mean, inv, weight, sum_g, sum_gx):
    if _plain(x):
        return reference.norm_grad(g, x, mean, inv, weight, sum_g, sum_gx)
    # scale * (g - sum_g/rows - (x - mean) * inv * sum_gx/rows), gathered by power of x
    scale = weight * inv
    slope = -scale * inv * sum_gx / len(x)
    out = empty(x.shape, x.dtype)
    split(
        _norm_grad,
        len(x),
        x.size,
        contiguous(g),
        contiguous(x),
        scale,
        slope,
        -scale * sum_g / len(x) - slope * mean,
        out,
    )
    return out


def _adam(start, stop, p, g, m, v, peak, rate, beta1, beta2, root, eps):
    p, g, m, v, one = p[start:stop], g[start:stop], m[start:stop], v[start:stop], p.dtype.type(1)
    for i in range(p.size):
        m[i] += (one - beta1) * (g[i] - m[i])
        v[i] += (one - beta2) * (g[i] * g[i] - v[i])
        top = v[i]
        if peak is not None:  # decided when compiled
            at = word(start + i)
            top = peak[at] = v[i] if not peak[at] >= v[i] else peak[at]  # NaN stays
        p[i] -= rate * m[i] / (math.sqrt(top) * root + eps)


_adam = jit(_adam)


def adam(params, grads, ms, vs, lr, steps, beta1, beta2, eps, peaks=None):
    rate = float(lr)
    for i, (p, g, m, v, t) in enumerate(zip(params, grads, ms, vs, steps.tolist())):
        peak = peaks[i] if peaks else None
        laid_out_alike = all(a is None or a.strides == p.strides for a in (m, v, peak))
        if p.dtype not in TYPES or not dense(p) or not laid_out_alike:
            reference.adam(
                [p], [g], [m], [v], lr, steps[i : i + 1], beta1, beta2, eps, peaks and [peak]
            )
            continue
        peak = flat(peak) if peaks else None
        numbers = map(
            p.dtype.type, (rate / (1 - beta1**t), beta1, beta2, (1 - beta2**t) ** -0.5, eps)
        )
        split(_adam, p.size, p.size, flat(p), flat(like(g, p)), flat(m), flat(v), peak, *numbers)


def _lerp(start, stop, p, q, weight):
    p, q = p[start:stop], q[start:stop]
    for i in range(p.size):
        p[i] += weight * (q[i] - p[i])


_lerp = jit(_lerp)


def lerp(averages, values, weight):
    for p, q in zip(averages, values):
        if p.dtype in TYPES and dense(p):
            split(_lerp, p.size, p.size, flat(p), flat(like(q, p)), p.dtype.type(weight))
        else:
            reference.lerp([p], [q], weight)


def _bits(start, stop, out, draw, low, high, k0, k1):
    # so many counters side by side: each inner loop is vector code
    lanes = np.empty((4, 64), np.uint32)
    c0, c1, c2, c3 = lanes[0], lanes[1], lanes[2], lanes[3]
    for first in range(start, stop, 64):
        n, x, y = min(64, stop - first), k0, k1
        for i in range(n):
            c0[i], c1[i], c2[i], c3[i] = np.uint32(first + i), draw, low, high
        for _ in range(10):
            for i in range(n):
                p, q = (
                    np.uint64(c0[i]) * np.uint64(0xD2511F53),
                    np.uint64(c2[i]) * np.uint64(0xCD9E8D57),
                )
                c0[i], c1[i] = np.uint32(q >> np.uint64(32)) ^ c1[i] ^ x, np.uint32(q)
                c2[i], c3[i] = np.uint32(p >> np.uint64(32)) ^ c3[i] ^ y, np.uint32(p)
            x, y = np.uint32(x + np.uint32(0x9E3779B9)), np.uint32(y + np.uint32(0xBB67AE85))
        for i in range(n):
            a = word(4 * (first + i))
            out[a], out[a + word(1)], out[a + word(2)], out[a + word(3)] = (
                c0[i],
                c1[i],
                c2[i],
                c3[i],
            )


_bits = jit(_bits)


def bits(n, key, draw, step):
    out, t = empty(((n + 3) // 4 * 4,), np.uint32), int(step[0])
    split(
        _bits,
        len(out) // 4,
        4 * len(out),
        out,
        *(np.uint32(i) for i in (draw, t & 0xFFFFFFFF, t >> 32, *key)),
    )
    return out[:n]


def uniform(out, key, draw, step):
    reference.fill_uniform(out, bits(out.size, key, draw, step))


def normal(out, key, draw, step):
    reference.fill_normal(out, bits((out.size + 1) // 2 * 2, key, draw, step))


def _bernoulli(start, stop, words, out, p, scale):
    words, out, zero = words[start:stop], out[start:stop], out.dtype.type(0)
    for i in range(out.size):
        out[i] = scale if np.float32(words[i] >> np.uint32(8)) * np.float32(2**-24) < p else zero


_bernoulli = jit(_bernoulli)


def bernoulli(out, p, scale, key, draw, step):
    if not out.flags.c_contiguous or out.dtype not in TYPES:
        return reference.bernoulli(out, p, scale, key, draw, step)
    split(
        _bernoulli,
        out.size,
        out.size,
        bits(out.size, key, draw, step),
        out.reshape(-1),
        np.float32(p),
        out.dtype.type(scale),
    )
