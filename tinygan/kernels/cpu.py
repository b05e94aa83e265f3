"""The raw functions for NumPy arrays, their loops compiled by Numba. `reference` says what each one means.

Each loop is a plain function of (start, stop, ...), compiled on the line below it and kept on disk (`cache=True`), above the
raw function that hands each core a part of it. Parts write to separate places and sums are made in fixed blocks: a result
does not depend on the number of cores. Matrix products are NumPy's BLAS on one thread, shared out in the same way.
"""

import math

import numba
import numpy as np

from . import reference
from .host import contiguous, dense, empty, empty_like, flat, gemm, like, split  # noqa: F401
from .reference import index_add  # noqa: F401  (as good as a loop)

COLUMNS = 1 << 20  # 4 MB of float32: a block of columns stays in the cache between im2col and the product
SMALL = 1 << 12  # below so many elements a NumPy expression is as fast

word = np.uintp  # an index that cannot be negative: Numba need not wrap it around, and the loop becomes vector code
jit = numba.njit(cache=True, nogil=True, error_model="numpy")


def _im2col(start, stop, x, cols, c, size, outputs, kernel, stride, padding, dilation):
    (h, w), (oh, ow), (kh, kw), (sh, sw), (ph, pw), (dh, dw) = size, outputs, kernel, stride, padding, dilation
    for r in range(start, stop):  # a row of output positions
        image, i = r // oh * h * w * c, r % oh
        for j in range(ow):
            left = j * sw - pw
            for u in range(kh):
                y, to = i * sh - ph + u * dh, ((r * ow + j) * kh + u) * kw * c
                if y < 0 or y >= h:
                    for q in range(kw * c):
                        cols[word(to + q)] = 0
                elif dw == 1:  # the taps of an image row lie side by side
                    at, first, last = image + (y * w + left) * c, min(max(0, -left), kw) * c, max(min(kw, w - left), 0) * c
                    for q in range(first):
                        cols[word(to + q)] = 0
                    for q in range(first, last):
                        cols[word(to + q)] = x[word(at + q)]
                    for q in range(max(first, last), kw * c):
                        cols[word(to + q)] = 0
                else:
                    for v in range(kw):
                        z = left + v * dw
                        at, inside = image + (y * w + z) * c, 0 <= z < w
                        for q in range(c):
                            cols[word(to + v * c + q)] = x[word(at + q)] if inside else 0


_im2col = jit(_im2col)


def im2col(x, size, kernel, stride, padding, dilation):
    n, h, w, c = x.shape
    rows, k = n * size[0] * size[1], kernel[0] * kernel[1] * c
    cols = empty((rows, k), x.dtype)
    geometry = c, (h, w), size, kernel, stride, padding, dilation
    split(_im2col, n * size[0], cols.size, contiguous(x).reshape(-1), cols.reshape(-1), *geometry)
    return cols


def _col2im(start, stop, cols, x, c, size, outputs, kernel, stride, padding, dilation):
    (h, w), (oh, ow), (kh, kw), (sh, sw), (ph, pw), (dh, dw) = size, outputs, kernel, stride, padding, dilation
    for b in range(start, stop):  # an image
        image = b * h * w * c
        for q in range(h * w * c):
            x[word(image + q)] = 0
        for i in range(oh):
            for j in range(ow):
                left = j * sw - pw
                for u in range(kh):
                    y, of = i * sh - ph + u * dh, (((b * oh + i) * ow + j) * kh + u) * kw * c
                    if 0 <= y < h and dw == 1:
                        at = image + (y * w + left) * c
                        for q in range(min(max(0, -left), kw) * c, max(min(kw, w - left), 0) * c):
                            x[word(at + q)] += cols[word(of + q)]
                    elif 0 <= y < h:
                        for v in range(kw):
                            z = left + v * dw
                            if 0 <= z < w:
                                at = image + (y * w + z) * c
                                for q in range(c):
                                    x[word(at + q)] += cols[word(of + v * c + q)]


_col2im = jit(_col2im)


def col2im(cols, shape, size, kernel, stride, padding, dilation):
    x, (n, h, w, c) = empty(shape, cols.dtype), shape
    geometry = c, (h, w), size, kernel, stride, padding, dilation
    split(_col2im, n, cols.size, contiguous(cols).reshape(-1), x.reshape(-1), *geometry)
    return x


def _leaky_relu(start, stop, x, slope, out):
    x, out, zero = x[start:stop], out[start:stop], x.dtype.type(0)
    for i in range(x.size):
        out[i] = x[i] if x[i] > zero else x[i] * slope


_leaky_relu = jit(_leaky_relu)


def leaky_relu(x, slope):
    if x.size < SMALL or slope == 0:
        return reference.leaky_relu(x, slope)
    x = x if dense(x) else contiguous(x)
    out = empty_like(x)
    split(_leaky_relu, x.size, x.size, flat(x), x.dtype.type(slope), flat(out))
    return out


def _leaky_relu_grad(start, stop, g, x, slope, out):
    g, x, out, zero = g[start:stop], x[start:stop], out[start:stop], x.dtype.type(0)
    for i in range(x.size):
        out[i] = g[i] if x[i] > zero else (g[i] * slope if slope != zero else zero)


_leaky_relu_grad = jit(_leaky_relu_grad)


def leaky_relu_grad(g, x, slope):
    if x.size < SMALL:
        return reference.leaky_relu_grad(g, x, slope)
    x = x if dense(x) else contiguous(x)
    out = empty_like(x)
    split(_leaky_relu_grad, x.size, x.size, flat(like(g, x)), flat(x), x.dtype.type(slope), flat(out))
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
    if x.size < SMALL:
        return reference.moments(x)
    x, rows = contiguous(x), len(x)
    total, square = np.zeros((2, BLOCKS, x.shape[1]), x.dtype)
    split(_moments, BLOCKS, x.size, x, total, square)
    shift = total.sum(0) / rows
    return x[0] + shift, np.maximum(square.sum(0) / rows - shift * shift, 0)


def _affine(start, stop, x, scale, shift, out):
    for i in range(start, stop):
        for j in range(x.shape[1]):
            out[i, j] = scale[j] * x[i, j] + shift[j]


_affine = jit(_affine)


def affine(x, scale, shift):
    if x.size < SMALL:
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
    if x.size < SMALL:
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
    if x.size < SMALL:
        return reference.norm_grad(g, x, mean, inv, weight, sum_g, sum_gx)
    scale = weight * inv  # scale * (g - sum_g/rows - (x - mean) * inv * sum_gx/rows), gathered by power of x
    slope = -scale * inv * sum_gx / len(x)
    out = empty(x.shape, x.dtype)
    split(_norm_grad, len(x), x.size, contiguous(g), contiguous(x), scale, slope, -scale * sum_g / len(x) - slope * mean, out)
    return out


def _adam(start, stop, p, g, m, v, rate, beta1, beta2, root, eps):
    p, g, m, v, one = p[start:stop], g[start:stop], m[start:stop], v[start:stop], p.dtype.type(1)
    for i in range(p.size):
        m[i] += (one - beta1) * (g[i] - m[i])
        v[i] += (one - beta2) * (g[i] * g[i] - v[i])
        p[i] -= rate * m[i] / (math.sqrt(v[i]) * root + eps)


_adam = jit(_adam)


def adam(p, g, m, v, lr, step, beta1, beta2, eps):
    if not (dense(p) and p.strides == m.strides == v.strides):
        return reference.adam(p, g, m, v, lr, step, beta1, beta2, eps)
    t, number = int(step[0]), p.dtype.type
    rate, root = float(lr[0]) / (1 - beta1**t), (1 - beta2**t) ** -0.5
    numbers = (number(n) for n in (rate, beta1, beta2, root, eps))
    split(_adam, p.size, p.size, flat(p), flat(like(g, p)), flat(m), flat(v), *numbers)


def _lerp(start, stop, p, q, weight):
    p, q = p[start:stop], q[start:stop]
    for i in range(p.size):
        p[i] += weight * (q[i] - p[i])


_lerp = jit(_lerp)


def lerp(p, q, weight):
    if not dense(p):
        return reference.lerp(p, q, weight)
    split(_lerp, p.size, p.size, flat(p), flat(like(q, p)), p.dtype.type(weight))


def _bits(start, stop, out, draw, low, high, k0, k1):
    lanes = np.empty((4, 64), np.uint32)  # so many counters side by side: each inner loop is vector code
    c0, c1, c2, c3 = lanes[0], lanes[1], lanes[2], lanes[3]
    for first in range(start, stop, 64):
        n, x, y = min(64, stop - first), k0, k1
        for i in range(n):
            c0[i], c1[i], c2[i], c3[i] = np.uint32(first + i), draw, low, high
        for _ in range(10):
            for i in range(n):
                p, q = np.uint64(c0[i]) * np.uint64(0xD2511F53), np.uint64(c2[i]) * np.uint64(0xCD9E8D57)
                c0[i], c1[i] = np.uint32(q >> np.uint64(32)) ^ c1[i] ^ x, np.uint32(q)
                c2[i], c3[i] = np.uint32(p >> np.uint64(32)) ^ c3[i] ^ y, np.uint32(p)
            x, y = np.uint32(x + np.uint32(0x9E3779B9)), np.uint32(y + np.uint32(0xBB67AE85))
        for i in range(n):
            a = word(4 * (first + i))
            out[a], out[a + word(1)], out[a + word(2)], out[a + word(3)] = c0[i], c1[i], c2[i], c3[i]


_bits = jit(_bits)


def bits(n, key, draw, step):
    out, t = empty(((n + 3) // 4 * 4,), np.uint32), int(step[0])
    split(_bits, len(out) // 4, len(out), out, *(np.uint32(i) for i in (draw, t & 0xFFFFFFFF, t >> 32, *key)))
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
    if not out.flags.c_contiguous:
        return reference.bernoulli(out, p, scale, key, draw, step)
    split(_bernoulli, out.size, out.size, bits(out.size, key, draw, step), out.reshape(-1), np.float32(p), out.dtype.type(scale))
