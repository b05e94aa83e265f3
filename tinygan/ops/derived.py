"""Operations that are a few lines over others, and that no layer needs."""

import math

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from ..arrays import is_integer
from ..autograd import primitive
from .arith import log, raw, where
from .reduce import count, mean, vector_norm
from .shape import getitem


def flip(x, axis):
    """x in reverse order along `axis`: a view."""
    before = normalize_axis_index(axis, x.ndim, "flip")
    return getitem(x, (slice(None),) * before + (slice(None, None, -1),))


@primitive
def _cumsum(x, axis):
    return x.cumsum(axis=axis)


_cumsum.defvjp(lambda g, out, x, axis: flip(_cumsum(flip(g, axis), axis), axis))


def cumsum(x, axis):
    """The sums of the elements up to each, along `axis`."""
    return _cumsum(x, normalize_axis_index(axis, x.ndim, "cumsum"))


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
