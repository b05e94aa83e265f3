"""Convolutions at stride 1 through the Fourier transform, for small images with many channels.

A convolution multiplies every tap with every position, for each pair of channels. In the
frequencies it is one product for each (Mathieu, Henaff & LeCun 2014, "Fast training of
convolutional networks through FFTs"): 121 numbers stand for a 7x7 image padded for a 5x5 filter,
against 25 * 49 pairs. The transforms of such an image are products with small matrices; so is the
one back, and three products of real numbers serve for a complex one. With B, G, A for images,
filters and results,

    <conv(x, w), y>  =  sum over r of  trace((B x)[r] (G w)[r] (A y)[r].T)

is the trilinear form of `ops.conv`, and each of its three faces leaves one of x, w, y out.
"""

import numpy as np

from .memory import empty, kept
from .matmul import gemm


def periods(image, padding):
    """After so many pixels a transform begins again: with one side's padding, which then serves for
    both.
    """
    return [h + p for h, p in zip(image, padding)]


@kept
def _matrices(image, kernel, size, padding):
    """B (r, h*w), G (r, kh*kw) and A (r, oh*ow) in float32."""
    lengths = periods(image, padding)
    b, g, a = [], [], []
    for f in np.ndindex(*lengths):
        opposite = tuple(-i % n for i, n in zip(f, lengths))  # the conjugate: its numbers are known
        if opposite < f:
            continue
        turn = [2 * np.pi * i / n for i, n in zip(f, lengths)]
        angle = lambda extent, back=(0, 0): np.add.outer(
            *(t * (np.arange(m) - s) for t, m, s in zip(turn, extent, back))
        ).ravel()  # noqa: E731
        (cx, sx), (cw, sw), (cy, sy) = (
            (np.cos(t), np.sin(t)) for t in (angle(image), angle(kernel), angle(size, padding))
        )
        if opposite == f:
            b, g, a = [*b, cx], [*g, cw], [*a, cy]
        else:  # (cx - i sx) (cw + i sw), the imaginary part from the product of the sums of both
            b, g, a = (
                [*b, cx, -sx, cx - sx],
                [*g, cw, sw, cw + sw],
                [*a, 2 * (cy + sy), 2 * (sy - cy), -2 * sy],
            )
    return tuple(
        np.array(m, np.float32) / s for m, s in ((b, 1), (g, 1), (a, lengths[0] * lengths[1]))
    )


def _to(matrix, images):  # (r, h*w), (n, h, w, c) -> (r, n, c)
    out = empty((len(matrix), len(images), images.shape[3]), images.dtype)
    gemm(matrix, images.reshape(len(images), -1, images.shape[3]), out=out.swapaxes(0, 1))
    return out


def _back(matrix, numbers, size, bias):  # (r, h*w), (r, n, c) -> (n, h, w, c)
    out = gemm(matrix.T, numbers.swapaxes(0, 1)).reshape(-1, *size, numbers.shape[2])
    if bias is not None:
        out += bias
    return out


def _filters(matrix, w):  # (r, kh*kw), (kh, kw, c, o) -> (r, c, o)
    return gemm(matrix, w.reshape(matrix.shape[1], -1)).reshape(-1, *w.shape[2:])


def conv(x, w, size, stride, padding, dilation, bias=None):
    b, g, a = _matrices(x.shape[1:3], w.shape[:2], size, padding)
    return _back(a, gemm(_to(b, x), _filters(g, w)), size, bias)


def conv_transpose(y, w, size, stride, padding, dilation, bias=None):
    b, g, a = _matrices(size, w.shape[:2], y.shape[1:3], padding)
    return _back(b, gemm(_to(a, y), _filters(g, w).swapaxes(1, 2)), size, bias)


def conv_filter(x, y, size, stride, padding, dilation):
    b, g, a = _matrices(x.shape[1:3], size, y.shape[1:3], padding)
    products = gemm(_to(b, x).swapaxes(1, 2), _to(a, y))
    return gemm(g.T, products.reshape(len(products), -1)).reshape(*size, *products.shape[1:])
