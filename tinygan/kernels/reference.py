"""The raw functions in plain NumPy: what `cpu` (Numba) and `gpu` (CuPy) are tested against.

Raw functions take and give arrays, never Tensors, and know nothing of gradients. The same names
with the same arguments stand in all three modules; `kernels.of(array)` picks one. Images are
channels-last here, (n, h, w, c): the columns of `im2col` are then runs of memory, and a convolution
is one matrix product. What changes from one step of training to the next (learning rates, counts of
steps, the `step` that `random.py` counts) is an array on the device: a CUDA graph reads it anew.
"""

import math

import numpy as np

from .philox import (  # noqa: F401
    bernoulli, bits, fill_normal, fill_uniform, normal, philox, uniform,
)  # fmt: skip
from .rows import (  # noqa: F401 (the reference's too)
    index_add, layer_norm, layer_norm_grad, log_softmax_at, softmax_rows, softmax_rows_grad, turn,
)  # fmt: skip
from .samples import sample_affine, sample_moments, sample_sums  # noqa: F401
from .smooth import (  # noqa: F401
    bce, bce_grad, gelu, gelu_grad, gelu_tanh, gelu_tanh_grad, silu, silu_grad, softplus,
)  # fmt: skip

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
    """The patch under each output position, as a row: (n, h, w, c) -> (n*oh*ow, kh*kw*c).

    Row (i, j), tap (u, v) reads the pixel of x at

        (i*stride - padding + u*dilation, j*stride - padding + v*dilation)

    and zero outside the image; size is (oh, ow).
    """
    n, *image, c = x.shape
    cols = np.zeros((n, *size, *kernel, c), x.dtype)
    for tap, pixels, positions in _taps(image, size, kernel, stride, padding, dilation):
        cols[:, *positions, *tap] = x[:, *pixels]
    return cols.reshape(n * math.prod(size), math.prod(kernel) * c)


def col2im(cols, x, size, kernel, stride, padding, dilation):
    """The adjoint of `im2col`, into a contiguous x (n, h, w, c): a pixel becomes the sum of all
    entries of cols that `im2col` would fill from it.
    """
    n, *image, c = x.shape
    cols = cols.reshape(n, *size, *kernel, c)
    x[...] = 0
    for tap, pixels, positions in _taps(image, size, kernel, stride, padding, dilation):
        x[:, *pixels] += cols[:, *positions, *tap]


def _taps(image, size, kernel, stride, padding, dilation):
    """For each tap (u, v): slices of the pixels that it reads, and of the positions that read."""
    rows, columns = map(_taps_along, image, size, kernel, stride, padding, dilation)
    for u, (pixels_down, down) in enumerate(rows):
        for v, (pixels_across, across) in enumerate(columns):
            yield (u, v), (pixels_down, pixels_across), (down, across)


def _taps_along(extent, outputs, kernel, stride, padding, dilation):
    """The same along one axis: a pair of slices for each tap."""
    pairs = []
    for tap in range(kernel):
        start = tap * dilation - padding  # output i reads pixel start + i*stride
        first = max(0, -(start // stride))
        stop = min(outputs, (extent - 1 - start) // stride + 1)
        if first < stop:
            begin = start + first * stride
            end = start + (stop - 1) * stride + 1
            pairs.append((slice(begin, end, stride), slice(first, stop)))
        else:  # all outside
            pairs.append((slice(0), slice(0)))
    return pairs


def convolutions(im2col, col2im, gemm, empty, max_elements):
    """The three faces of `ops.conv`, made from a device's im2col, col2im and gemm.

    Images are (n, h, w, c) and (n, oh, ow, o), filters (kh, kw, c, o); `size` is the (height,
    width) of the result, and a bias is as long as it has channels. The batch is done in blocks, so
    that the columns of each have at most `max_elements` elements.
    """

    def conv(x, w, size, stride, padding, dilation, bias=None):
        *kernel, _, o = w.shape
        filters = w.reshape(-1, o)
        out = empty((len(x), *size, o), x.dtype)
        for some in blocks(x, size, w.shape):
            cols = im2col(x[some], size, kernel, stride, padding, dilation)
            rows = out[some].reshape(len(cols), o)
            gemm(cols, filters, out=rows)
        if bias is not None:
            out += bias
        return out

    def conv_transpose(y, w, size, stride, padding, dilation, bias=None):
        *kernel, c, o = w.shape
        positions = y.shape[1:3]
        filters = w.reshape(-1, o).T
        out = empty((len(y), *size, c), y.dtype)
        for some in blocks(y, positions, w.shape):
            rows = y[some].reshape(-1, o)
            cols = gemm(rows, filters)
            col2im(cols, out[some], positions, kernel, stride, padding, dilation)
        if bias is not None:
            out += bias
        return out

    def conv_filter(x, y, size, stride, padding, dilation):
        _, *positions, o = y.shape
        shape = *size, x.shape[3], o
        out = None
        for some in blocks(x, positions, shape):
            cols = im2col(x[some], positions, size, stride, padding, dilation)
            rows = y[some].reshape(len(cols), o)
            part = gemm(cols.T, rows).reshape(shape)
            out = part if out is None else out + part
        return out

    def blocks(images, positions, filters):
        """Slices of the batch, one if it is empty, each of as many images as fit."""
        each = math.prod(positions) * math.prod(filters[:3])
        step = max(1, max_elements // max(1, each))
        for start in range(0, max(len(images), 1), step):
            yield slice(start, start + step)

    return conv, conv_transpose, conv_filter


NO_LIMIT = 1 << 62  # elements: the whole batch at once
conv, conv_transpose, conv_filter = convolutions(im2col, col2im, gemm, np.empty, NO_LIMIT)


def leaky(x, at, slope):
    """slope * x where `at` <= 0, x elsewhere.

    `at` decides and x is scaled: forward, both are the input; backward, x is the gradient.
    """
    # not 0 * x, which is NaN where x is infinite
    below = slope * x if slope else x.dtype.type(0)
    return np.where(at <= 0, below, x)


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
    """Column sums of g, and of g times the normalised x: (rows, c) -> (c,), (c,).

    inv is 1 / standard deviation.
    """
    sum_gx = (g * ((x - mean) * inv)).sum(axis=0)
    return g.sum(axis=0), sum_gx


def norm_grad(g, x, mean, inv, weight, sum_g, sum_gx):
    """The gradient of weight * (x - mean) * inv, through mean and inv as well: (rows, c).

    Ioffe & Szegedy 2015, section 3.
    """
    rows = max(len(x), 1)
    through_inv = (x - mean) * (inv * sum_gx / rows)
    return (weight * inv) * (g - sum_g / rows - through_inv)


def adam(params, grads, ms, vs, lr, steps, beta1, beta2, eps, peaks=None):
    """One step of Adam, in place (Kingma & Ba 2015, algorithm 1).

    params, grads, ms, vs: lists of n arrays each, the parameters p, their gradients g, and the
    moving averages m of g and v of g*g. lr: an array () of float64; steps: (n,) of int64, how many
    steps each parameter has taken, this one included. peaks: n arrays for the largest v so far,
    which then stands for v (amsgrad: Reddi, Kale & Kumar 2018).
    """
    peaks = peaks or [None] * len(vs)
    counts = steps.tolist()
    for p, g, m, v, peak, t in zip(params, grads, ms, vs, peaks, counts):
        m += (1 - beta1) * (g - m)
        v += (1 - beta2) * (g * g - v)
        top = v
        if peak is not None:
            top = np.maximum(peak, v, out=peak)
        rate = float(lr) / (1 - beta1**t)
        deviation = np.sqrt(top / (1 - beta2**t))
        p -= rate * m / (deviation + eps)


def lerp(averages, values, weight):
    """average += weight * (value - average) in place, for each pair; weight: a float64 array ()."""
    for average, value in zip(averages, values):
        average += average.dtype.type(weight) * (value - average)
