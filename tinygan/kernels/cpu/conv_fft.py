"""Convolutions at stride 1 through the Fourier transform, for small images with many channels.

A convolution multiplies every tap with every position, for each pair of channels. Among
frequencies there is one product for each (Mathieu, Henaff & LeCun 2014, "Fast training of
convolutional networks through FFTs"). A 7x7 image, padded for a 5x5 filter, repeats after 9x9
pixels, and so has 81 frequencies: 0, and 40 pairs of conjugates that take three real products each
(below). That makes 1 + 3 * 40 = 121 products in the place of 25 * 49. The transforms of so small
an image are products with small matrices, and so is the one back.

Along one axis, with N pixels to a period and q = 2 pi f / N, the trilinear form of `ops.conv` is

    sum over t, u of  x[t + u - p] w[u] y[t]  =  1/N  sum over f of  X[f] W[f] Y[f]

    X = sum of x[s] exp(-iqs)      W = sum of w[u] exp(iqu)      Y = sum of y[t] exp(iq(t - p))

because the exponentials of s, u and t - p meet in the sum over f of exp(iq(t + u - p - s)), which
is N where s = t + u - p (modulo N) and else 0. Two axes multiply their exponentials. The numbers
are real, so the frequency -f has the conjugate term, and the two give 2 Re(X W Y). Written out,
with X = a - bi, W = c + di, Y = e + ki, three products of real numbers serve for X W:

    P = a c,  Q = (-b) d,  R = (a - b) (c + d):   Re(X W) = P - Q,   Im(X W) = R - P - Q

    2 Re(X W Y)  =  2 (P - Q) e - 2 (R - P - Q) k  =  P 2 (e + k)  +  Q 2 (k - e)  +  R (-2 k)

So there are matrices B, G and A of real numbers, three rows for a frequency and its conjugate and
one where both are the same, with

    <conv(x, w), y>  =  sum over r of  (B x)[r] (G w)[r] (A y)[r]

for one channel in and out; for more, each (G w)[r] is a matrix, and the sums over channels are
products of matrices. The three functions below each leave one of x, w, y out. It is made for
dcgan5x5's layer on 7x7 images, 256 channels to 128: without this file the training step takes a
third longer at 32 images, and 45 % longer at 128.
"""

import math

import numpy as np

from .matmul import gemm
from .memory import empty, kept


def _periods(image, padding):
    """After how many pixels the transform begins again, downwards and across: an image and the
    padding of one side, which serves as the other side's too.
    """
    return [extent + before for extent, before in zip(image, padding)]


def multiplications(shapes, padding):
    """How many it takes, of shapes (n, h, w, c), (kh, kw, c, o) and (n, oh, ow, o)."""
    (n, *image, c), (*_, o), _ = shapes
    rows = 1.5 * math.prod(_periods(image, padding))  # of B, G and A: three for two frequencies
    transforms = sum(map(math.prod, shapes))
    return rows * (transforms + n * c * o)


@kept
def _matrices(image, kernel, size, padding):
    """B (r, h*w), G (r, kh*kw) and A (r, oh*ow) in float32."""
    periods = _periods(image, padding)
    rows = []
    for f in np.ndindex(*periods):
        conjugate = tuple(-i % n for i, n in zip(f, periods))
        if conjugate < f:  # the pair's rows are there already
            continue
        turns = [2 * np.pi * i / n for i, n in zip(f, periods)]
        a, b = _waves(turns, image)
        c, d = _waves(turns, kernel)
        e, k = _waves(turns, size, padding)
        if conjugate == f:  # b, d and k are zero
            rows.append((a, c, e))
        else:
            rows.append((a, c, 2 * (e + k)))
            rows.append((-b, d, 2 * (k - e)))
            rows.append((a - b, c + d, -2 * k))
    to_image, to_filter, to_result = (np.array(some, np.float32) for some in zip(*rows))
    return to_image, to_filter, to_result / math.prod(periods)


def _waves(turns, shape, before=(0, 0)):
    """Cosine and sine at each place, as one axis; turns: radians from a place to the next."""
    down, across = (t * (np.arange(n) - p) for t, n, p in zip(turns, shape, before))
    angles = np.add.outer(down, across).ravel()
    return np.cos(angles), np.sin(angles)


def _transform(matrix, images):  # (r, h*w), (n, h, w, c) -> (r, n, c)
    n, h, w, c = images.shape
    flat = images.reshape(n, h * w, c)
    out = empty((len(matrix), n, c), images.dtype)
    gemm(matrix, flat, out=out.swapaxes(0, 1))
    return out


def _transform_filters(matrix, w):  # (r, kh*kw), (kh, kw, c, o) -> (r, c, o)
    kh, kw, c, o = w.shape
    out = gemm(matrix, w.reshape(kh * kw, c * o))
    return out.reshape(len(out), c, o)


def _back(matrix, numbers, size, bias):  # (r, h*w), (r, n, c) -> (n, h, w, c)
    out = gemm(matrix.T, numbers.swapaxes(0, 1))  # (n, h*w, c)
    out = out.reshape(len(out), *size, out.shape[2])
    if bias is not None:
        out += bias
    return out


def conv(x, w, size, stride, padding, dilation, bias=None):
    to_image, to_filter, to_result = _matrices(x.shape[1:3], w.shape[:2], size, padding)
    images = _transform(to_image, x)
    filters = _transform_filters(to_filter, w)
    return _back(to_result, gemm(images, filters), size, bias)


def conv_transpose(y, w, size, stride, padding, dilation, bias=None):
    to_image, to_filter, to_result = _matrices(size, w.shape[:2], y.shape[1:3], padding)
    results = _transform(to_result, y)
    filters = _transform_filters(to_filter, w)
    return _back(to_image, gemm(results, filters.swapaxes(1, 2)), size, bias)


def conv_filter(x, y, size, stride, padding, dilation):
    to_image, to_filter, to_result = _matrices(x.shape[1:3], size, y.shape[1:3], padding)
    images = _transform(to_image, x)
    results = _transform(to_result, y)
    products = gemm(images.swapaxes(1, 2), results)
    r, c, o = products.shape
    out = gemm(to_filter.T, products.reshape(r, c * o))
    return out.reshape(*size, c, o)
