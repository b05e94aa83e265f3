"""Sums and other reductions, with NumPy's `axis` (None, a number or a tuple) and `keepdims`.

Ties of `max` and `min` share the gradient equally. This room knows no layers.
"""

import builtins
import math

import numpy as np

from .. import kernels
from ..autograd import primitive
from .arith import broadcast_to, exp, raw, total, where


def reduced_shape(shape, axis):
    """`shape` with the reduced axes at size 1, as keepdims gives it."""
    if axis is None:
        return (1,) * len(shape)
    axes = axis if isinstance(axis, tuple) else (axis,)
    reduced = {a % len(shape) for a in axes if shape}
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))


def count(shape, axis):
    """How many numbers of an array of that shape go into each result of a reduction over `axis`."""
    return math.prod(n for n, k in zip(shape, reduced_shape(shape, axis)) if n != k)


@primitive
def sum(x, axis=None, keepdims=False):
    """The sum over `axis`."""
    return total(x, axis, keepdims)


def spread(g, out, x, axis=None, keepdims=False):
    """g, the gradient of a reduction of x, repeated to x's shape."""
    return broadcast_to(g.reshape(reduced_shape(x.shape, axis)), x.shape)


sum.defvjp(spread)


def rows(x):
    """An array (n, c, ...) as a matrix (n*..., c): no copy if the channels lie last in memory."""
    if x.ndim == 2:
        return x
    last = x.transpose(0, *range(2, x.ndim), 1)
    return last.reshape(-1, x.shape[1])


def by_channel(v, x):
    """v (c,), a number for each channel of x (n, c, ...), in a shape that broadcasts to x's."""
    return v.reshape((-1, *[1] * (x.ndim - 2)))


@primitive
def sum_channels(x):
    """The sum over all axes but the second: (n, c, ...) -> (c,)."""
    return kernels.of(x).column_sums(rows(x))


sum_channels.defvjp(lambda g, out, x: broadcast_to(by_channel(g, x), x.shape))


def mean(x, axis=None, keepdims=False):
    """The mean over `axis`."""
    return sum(x, axis, keepdims) / count(x.shape, axis)


@primitive
def _var(x, axis=None, keepdims=False):
    """The variance times the count: the sum of the squares of x - mean(x, axis)."""
    d = x - total(x, axis, True) / count(x.shape, axis)
    d *= d
    return total(d, axis, keepdims)


def _from_mean(g, out, x, axis=None, keepdims=False):
    # by way of the mean there is no more, for the differences from it add up to 0
    return spread(2 * g, out, x, axis) * (x - mean(x, axis, True))


_var.defvjp(_from_mean)


def var(x, axis=None, correction=0, keepdims=False):
    """The variance over `axis`, divided by the count less `correction`.

    That is 0 by default, as in NumPy; PyTorch's default is 1.
    """
    freedom = builtins.max(count(x.shape, axis) - correction, 0)
    return _var(x, axis, keepdims) / freedom


@primitive
def max(x, axis=None, keepdims=False):
    """The largest element over `axis`."""
    return x.max(axis=axis, keepdims=keepdims)


def _max(g, out, x, axis=None, keepdims=False):
    shape = reduced_shape(x.shape, axis)
    x = raw(x)
    top = (x == raw(out).reshape(shape)) | (x != x)  # a NaN is the largest, and the smallest
    share = top / np.maximum(top.sum(axis=axis, keepdims=True), 1)
    return spread(g, out, x, axis) * share.astype(g.dtype)


max.defvjp(_max)


@primitive
def min(x, axis=None, keepdims=False):
    """The smallest element over `axis`."""
    return x.min(axis=axis, keepdims=keepdims)


min.defvjp(_max)


@primitive
def logsumexp(x, axis=None, keepdims=False):
    """log(sum(exp(x))) over `axis`, without overflow.

    Of nothing, or nothing but -inf, it is -inf, and its gradient is 0.
    """
    largest = x.max if count(x.shape, axis) else x.sum
    top = largest(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, top.dtype.type(0))
    with np.errstate(divide="ignore"):
        out = np.log(np.exp(x - top).sum(axis=axis, keepdims=True)) + top
    return out if keepdims else out.reshape(x.sum(axis=axis).shape)


def _logsumexp(g, out, x, axis=None, keepdims=False):
    out = out.reshape(reduced_shape(x.shape, axis))
    share = exp(x - where(raw(out) == -np.inf, 0.0, out))
    return g.reshape(out.shape) * share


logsumexp.defvjp(_logsumexp)
