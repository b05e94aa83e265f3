"""Sums and other reductions over axes, with NumPy's `axis` (None, a number or a tuple) and `keepdims`.

Ties of `max` and `min` share the gradient equally. This room knows no layers and no kernels.
"""

import math

import numpy as np

from ..autograd import primitive
from .arith import broadcast_to, exp, raw, where


def _kept(shape, axis):
    """`shape` with the reduced axes at size 1, as keepdims gives it."""
    axes = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = {a % len(shape) for a in axes if shape}
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _count(shape, axis):
    return math.prod(n for n, k in zip(shape, _kept(shape, axis)) if n != k)


@primitive
def sum(x, axis=None, keepdims=False):
    """The sum over `axis`."""
    return x.sum(axis=axis, keepdims=keepdims)


sum.defvjp(lambda g, out, x, axis=None, keepdims=False: broadcast_to(g.reshape(_kept(x.shape, axis)), x.shape))


def mean(x, axis=None, keepdims=False):
    """The mean over `axis`."""
    return sum(x, axis, keepdims) / _count(x.shape, axis)


def var(x, axis=None, correction=0, keepdims=False):
    """The variance over `axis`, divided by the count less `correction`: 0 as in NumPy (PyTorch's default is 1)."""
    d = x - mean(x, axis, True)
    return sum(d * d, axis, keepdims) / (_count(x.shape, axis) - correction)


@primitive
def max(x, axis=None, keepdims=False):
    """The largest element over `axis`."""
    return x.max(axis=axis, keepdims=keepdims)


def _max(g, out, x, axis=None, keepdims=False):
    shape = _kept(x.shape, axis)
    top = raw(x) == raw(out).reshape(shape)
    share = top / np.maximum(top.sum(axis=axis, keepdims=True), 1)
    return broadcast_to(g.reshape(shape), x.shape) * share.astype(g.dtype)


max.defvjp(_max)


def min(x, axis=None, keepdims=False):
    """The smallest element over `axis`."""
    return -max(-x, axis, keepdims)


@primitive
def logsumexp(x, axis=None, keepdims=False):
    """log(sum(exp(x))) over `axis`, without overflow; of nothing but -inf it is -inf, with gradient 0."""
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, top.dtype.type(0))
    with np.errstate(divide="ignore"):
        out = np.log(np.exp(x - top).sum(axis=axis, keepdims=True)) + top
    return out if keepdims else out.reshape(x.sum(axis=axis).shape)


def _logsumexp(g, out, x, axis=None, keepdims=False):
    out = out.reshape(_kept(x.shape, axis))
    return g.reshape(out.shape) * exp(x - where(np.isfinite(raw(out)), out, 0.0))


logsumexp.defvjp(_logsumexp)
