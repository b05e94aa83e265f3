"""The raw functions for NumPy arrays, their loops compiled by Numba: which there are, and where.

`reference` says what each one means. A loop is a function of (start, stop, ...) that does this part
of the work; below it stands the raw function, which shares the parts out among the cores
(`threads`). Parts write to separate places and sums are made in fixed blocks, so a result does not
depend on the number of cores. What is small, or has numbers that no loop is compiled for, is
NumPy's: the reference does it.

This file compiles nothing. It only decides which way a convolution goes.
"""

import math

from .. import reference
from ..reference import col2im, im2col
from . import conv_direct, conv_fft
from .compiler import TYPES
from .host import contiguous, elementwise
from .loops import affine, column_sums, leaky, moments, norm_grad, norm_sums
from .matmul import gemm
from .memory import empty
from .random import bernoulli, bits, normal, uniform
from .rows import index_add, layer_norm, layer_norm_grad, log_softmax_at
from .rows import softmax_rows, softmax_rows_grad, turn
from .samples import sample_affine, sample_moments, sample_sums
from .smooth import bce, bce_grad, gelu, gelu_grad, gelu_tanh, gelu_tanh_grad
from .smooth import silu, silu_grad, softplus
from .thresholds import FOURIER_GAIN
from .updates import adam, lerp

__all__ = ["empty", "contiguous", "elementwise", "gemm", "index_add"]
__all__ += ["conv", "conv_transpose", "conv_filter", "im2col", "col2im"]
__all__ += ["leaky", "moments", "column_sums", "affine", "norm_sums", "norm_grad"]
__all__ += ["sample_moments", "sample_sums", "sample_affine"]
__all__ += ["silu", "silu_grad", "softmax_rows", "softmax_rows_grad"]
__all__ += ["gelu", "gelu_grad", "gelu_tanh", "gelu_tanh_grad", "layer_norm", "layer_norm_grad"]
__all__ += ["log_softmax_at", "turn", "softplus", "bce", "bce_grad"]
__all__ += ["adam", "lerp", "bits", "uniform", "normal", "bernoulli"]


def conv(x, w, size, stride, padding, dilation, bias=None):
    shapes = x.shape, w.shape, (len(x), *size, w.shape[3])
    route = _route(x, w, shapes, stride, padding, dilation)
    return route.conv(x, w, size, stride, padding, dilation, bias)


def conv_transpose(y, w, size, stride, padding, dilation, bias=None):
    shapes = (len(y), *size, w.shape[2]), w.shape, y.shape
    route = _route(y, w, shapes, stride, padding, dilation)
    return route.conv_transpose(y, w, size, stride, padding, dilation, bias)


def conv_filter(x, y, size, stride, padding, dilation):
    shapes = x.shape, (*size, x.shape[3], y.shape[3]), y.shape
    route = _route(x, y, shapes, stride, padding, dilation)
    return route.conv_filter(x, y, size, stride, padding, dilation)


def _route(a, b, shapes, stride, padding, dilation):
    """The module whose conv, conv_transpose and conv_filter take the fewest multiplications for
    the arrays a and b.

    shapes: of images, filters and results, (n, h, w, c), (kh, kw, c, o) and (n, oh, ow, o).
    """
    if not a.size * b.size or a.dtype != b.dtype or a.dtype not in TYPES:
        return reference
    if a.dtype == "f8" or stride != (1, 1) or dilation != (1, 1):
        return conv_direct
    _, filters, results = shapes
    direct = math.prod(results) * math.prod(filters[:3])
    through = conv_fft.multiplications(shapes, padding)
    return conv_fft if FOURIER_GAIN * through < direct else conv_direct
