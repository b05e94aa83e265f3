"""The raw functions in plain NumPy: the specification that `cpu` (Numba) and `gpu` (CuPy) are
tested against.

Raw functions take and give arrays, never Tensors, and know nothing of gradients. The same names
with the same arguments stand in all three modules; `kernels.of(array)` picks one. Images are
channels-last here, (n, h, w, c): the columns of `im2col` are then runs of memory, and a convolution
is one matrix product. Learning rates, counts of steps and the random `step` are arrays on the
device, so that a captured GPU step can change them.
"""

import math

import numpy as np

empty = np.empty  # memory for results; the other modules recycle it


def contiguous(x):
    """x in the order of its axes in memory: itself if it lies so."""
    return np.ascontiguousarray(x)


def elementwise(f, *args):
    """f(*args), for a function f of numbers, on arrays that broadcast against each other."""
    return f(*args)


def gemm(a, b, out=None):
    """Matrix product with NumPy's batching: (..., m, k) @ (..., k, n) -> (..., m, n)."""
    return np.matmul(a, b, out=out)


def im2col(x, size, kernel, stride, padding, dilation):
    """The patch under each output position, as rows: (n, h, w, c) -> (n*oh*ow, kh*kw*c), zero
    outside the image.

    Row (i, j), tap (u, v) reads x[i*stride - padding + u*dilation, j*stride - padding +
    v*dilation]; size is (oh, ow).
    """
    (n, h, w, c), (oh, ow), (kh, kw) = x.shape, size, kernel
    cols = np.zeros((n, oh, ow, kh, kw, c), x.dtype)
    for u, v, rows, columns, inside in _taps(h, w, size, kernel, stride, padding, dilation):
        cols[:, *inside, u, v] = x[:, rows, columns]
    return cols.reshape(n * oh * ow, kh * kw * c)


def col2im(cols, x, size, kernel, stride, padding, dilation):
    """The adjoint of `im2col`, into a contiguous x (n, h, w, c): a pixel sums what was read from
    it.
    """
    (n, h, w, c), (oh, ow), (kh, kw) = x.shape, size, kernel
    cols = cols.reshape(n, oh, ow, kh, kw, c)
    x[...] = 0
    for u, v, rows, columns, inside in _taps(h, w, size, kernel, stride, padding, dilation):
        x[:, rows, columns] += cols[:, *inside, u, v]


def _taps(h, w, size, kernel, stride, padding, dilation):
    """For each tap (u, v): the slices of the image it reads, and the slices of the output positions
    that read there.
    """

    def axis(extent, outputs, tap, stride, padding, dilation):
        start = tap * dilation - padding  # output i reads pixel start + i*stride
        first = max(0, -(start // stride))
        last = min(outputs, (extent - 1 - start) // stride + 1)
        pixels = (
            slice(start + first * stride, start + (last - 1) * stride + 1, stride)
            if last > first
            else slice(0, 0)
        )
        return pixels, slice(first, max(first, last))

    for u in range(kernel[0]):
        rows, i = axis(h, size[0], u, stride[0], padding[0], dilation[0])
        for v in range(kernel[1]):
            columns, j = axis(w, size[1], v, stride[1], padding[1], dilation[1])
            yield u, v, rows, columns, (i, j)


def convolutions(im2col, col2im, gemm, empty, numbers):
    """The three faces of `ops.conv` from a device's im2col, col2im and gemm, with so many numbers
    in columns at a time.

    Images are (n, h, w, c) and (n, oh, ow, o), filters (kh, kw, c, o); `size` is the (height,
    width) of the result, and a bias is as long as it has channels.
    """

    def conv(x, w, size, stride, padding, dilation, bias=None):
        out = empty((len(x), *size, w.shape[3]), x.dtype)
        for block in blocks(x, size, w.shape):
            cols = im2col(x[block], size, w.shape[:2], stride, padding, dilation)
            gemm(cols, w.reshape(-1, w.shape[3]), out=out[block].reshape(len(cols), w.shape[3]))
        return shifted(out, bias)

    def conv_transpose(y, w, size, stride, padding, dilation, bias=None):
        out = empty((len(y), *size, w.shape[2]), y.dtype)
        for block in blocks(y, y.shape[1:3], w.shape):
            cols = gemm(y[block].reshape(-1, w.shape[3]), w.reshape(-1, w.shape[3]).T)
            col2im(cols, out[block], y.shape[1:3], w.shape[:2], stride, padding, dilation)
        return shifted(out, bias)

    def conv_filter(x, y, size, stride, padding, dilation):
        out, shape = None, (*size, x.shape[3], y.shape[3])
        for block in blocks(x, y.shape[1:3], shape):
            cols = im2col(x[block], y.shape[1:3], size, stride, padding, dilation)
            part = gemm(cols.T, y[block].reshape(len(cols), y.shape[3])).reshape(shape)
            out = part if out is None else out + part
        return out

    def shifted(out, bias):
        if bias is not None:
            out += bias
        return out

    def blocks(images, positions, filters):
        step = max(1, numbers // max(1, math.prod(positions) * math.prod(filters[:3])))
        return (slice(i, i + step) for i in range(0, max(len(images), 1), step))

    return conv, conv_transpose, conv_filter


conv, conv_transpose, conv_filter = convolutions(im2col, col2im, gemm, np.empty, 1 << 62)


def leaky(x, at, slope):
    """slope * x where `at` <= 0, x elsewhere."""
    return np.where(at <= 0, slope * x if slope else x.dtype.type(0), x)


def moments(x):
    """Mean and biased variance of the columns: (rows, c) -> (c,), (c,)."""
    return x.mean(axis=0), x.var(axis=0)


def column_sums(x):
    """(rows, c) -> (c,)."""
    return x.sum(axis=0)


def affine(x, scale, shift):
    """scale * x + shift, by column: (rows, c), (c,), (c,) -> (rows, c)."""
    return scale * x + shift


def norm_sums(g, x, mean, inv):
    """Column sums of g, and of g times the normalised x: (rows, c) -> (c,), (c,). inv is 1 /
    standard deviation.
    """
    return g.sum(axis=0), (g * ((x - mean) * inv)).sum(axis=0)


def norm_grad(g, x, mean, inv, weight, sum_g, sum_gx):
    """The gradient of weight * (x - mean) * inv through mean and inv as well (Ioffe & Szegedy 2015,
    section 3).
    """
    rows = max(len(x), 1)
    return (weight * inv) * (g - sum_g / rows - (x - mean) * (inv * sum_gx / rows))


def adam(params, grads, ms, vs, lr, steps, beta1, beta2, eps, peaks=None):
    """One step of Adam in place on the parameters p, m and v, lists of arrays (Kingma & Ba 2015,
    algorithm 1).

    lr is an array () of float64, `steps` (n,) of int64: how many each of the n parameters has
    taken, with this one. peaks: arrays for the largest v so far, which then stands for v (amsgrad:
    Reddi 2018).
    """
    for p, g, m, v, peak, t in zip(
        params, grads, ms, vs, peaks or [None] * len(vs), steps.tolist()
    ):
        m += (1 - beta1) * (g - m)
        v += (1 - beta2) * (g * g - v)
        top = v if peak is None else np.maximum(peak, v, out=peak)
        p -= float(lr) / (1 - beta1**t) * m / (np.sqrt(top / (1 - beta2**t)) + eps)


def lerp(averages, values, weight):
    """p += weight * (q - p), in place, for lists of arrays p and q; `weight` is an array () of
    float64.
    """
    for p, q in zip(averages, values):
        p += p.dtype.type(weight) * (q - p)


def index_add(x, index, g):
    """x[index] += g in place, where a repeated index adds repeatedly."""
    np.add.at(x, index, g)


def philox(counter, key):
    """Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): four and
    two uint32 arrays.
    """
    (c0, c1, c2, c3), (k0, k1) = (np.asarray(c, np.uint64) for c in counter), (int(k) for k in key)
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p, q = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            q >> np.uint64(32) ^ c1 ^ np.uint64(k0),
            q & low,
            p >> np.uint64(32) ^ c3 ^ np.uint64(k1),
            p & low,
        )
        k0, k1 = k0 + 0x9E3779B9 & 0xFFFFFFFF, k1 + 0xBB67AE85 & 0xFFFFFFFF
    return tuple(c.astype(np.uint32) for c in (c0, c1, c2, c3))


def bits(n, key, draw, step):
    """n uint32: element i is word i % 4 of counter (i // 4, draw, step's low and high word) under
    key (seed, stream).
    """
    blocks = np.arange((n + 3) // 4)
    counter = (
        blocks,
        np.full_like(blocks, draw),
        blocks * 0 + (int(step[0]) & 0xFFFFFFFF),
        blocks * 0 + (int(step[0]) >> 32),
    )
    return np.stack(philox(counter, key), axis=1).reshape(-1)[:n]


def uniform(out, key, draw, step):
    """Fill `out` with multiples of 2^-24 in [0, 1), one word each."""
    fill_uniform(out, bits(out.size, key, draw, step))


def fill_uniform(out, words):
    out[...] = _unit(words).reshape(out.shape)


def normal(out, key, draw, step):
    """Fill `out` with standard normals, two from two words (Box & Muller 1958)."""
    fill_normal(out, bits((out.size + 1) // 2 * 2, key, draw, step))


def fill_normal(out, words):
    u = _unit(words).reshape(-1, 2).T.astype(out.dtype)
    radius, angle = np.sqrt(-2 * np.log(1 - u[0])), 2 * np.pi * u[1]
    out[...] = (
        np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        .reshape(-1)[: out.size]
        .reshape(out.shape)
    )


def bernoulli(out, p, scale, key, draw, step):
    """Fill `out` with `scale` with probability p, else 0: a dropout mask."""
    out[...] = np.where(
        _unit(bits(out.size, key, draw, step)).reshape(out.shape) < np.float32(p),
        out.dtype.type(scale),
        0,
    )


def _unit(words):
    return (words >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
