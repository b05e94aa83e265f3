"""Operations that no layer needs: most of them are a few lines over others."""

import math

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from ..arrays import is_integer
from ..autograd import primitive
from .arith import broadcast_to, log, raw, where
from .reduce import count, mean, reduced_shape, spread
from .shape import getitem, transpose


def flip(x, axis):
    """x in reverse order along `axis`: a view."""
    before = normalize_axis_index(axis, x.ndim, "flip")
    return getitem(x, (slice(None),) * before + (slice(None, None, -1),))


@primitive
def _cumsum(x, axis):
    return x.cumsum(axis=axis)


def _sums_from(g, out, x, axis):
    """Each element is in its own sum and in all later ones."""
    return flip(_cumsum(flip(g, axis), axis), axis)


_cumsum.defvjp(_sums_from)


def cumsum(x, axis):
    """The sums of the elements up to each, along `axis`."""
    return _cumsum(x, normalize_axis_index(axis, x.ndim, "cumsum"))


@primitive
def vector_norm(x, axis=None, keepdims=False):
    """The Euclidean length over `axis`; at 0, where it has a cone's tip, its gradient is 0."""
    return np.sqrt((x * x).sum(axis=axis, keepdims=keepdims))


def _vector_norm(g, out, x, axis=None, keepdims=False):
    shape = reduced_shape(x.shape, axis)
    return (g / where(raw(out) == 0, 1.0, out)).reshape(shape) * x


vector_norm.defvjp(_vector_norm)


@primitive
def prod(x, axis=None, keepdims=False):
    """The product over `axis`."""
    return x.prod(axis=axis, keepdims=keepdims)


def _prod(g, out, x, axis=None, keepdims=False):
    """By the product of all elements but each: of a square of rows, with 1 on its diagonal.

    A division by each would fail where one is 0.
    """
    shape = reduced_shape(x.shape, axis)
    n = count(x.shape, axis)
    # the axes multiplied over come last, as one
    order = sorted(range(x.ndim), key=lambda i: shape[i] != x.shape[i])
    kept = [size for size, k in zip(x.shape, shape) if size == k]
    row = transpose(x, order).reshape((*kept, 1, n))
    square = broadcast_to(row, (*kept, n, n))
    itself = np.identity(n, bool, like=raw(x))  # CuPy has no eye(like=)
    others = prod(where(itself, 1.0, square), axis=-1)
    others = others.reshape([x.shape[i] for i in order])
    others = transpose(others, np.argsort(order).tolist())
    return spread(g, out, x, axis) * others


prod.defvjp(_prod)


def std(x, axis=None, correction=0, keepdims=False):
    """The square root of `var`; where all are equal, at a cone's tip, its gradient is 0."""
    freedom = max(count(x.shape, axis) - correction, 0)
    return vector_norm(x - mean(x, axis, True), axis, keepdims) / math.sqrt(freedom)


def xlogy(x, y):
    """x * log(y), and 0 where x is 0 and y any number, below 0 or infinite too."""
    if not hasattr(y, "dtype"):
        y = np.full_like(raw(x), y)
    elif is_integer(y) and hasattr(x, "dtype"):
        y = y.astype(x.dtype)
    endless = (raw(y) <= 0) | (raw(y) == np.inf)
    return x * log(where((raw(x) == 0) & endless, 1.0, y))
