"""Operations that move elements without changing them: reshape, transpose, index, pad, join.

The rule of each is the move back. This room knows no layers and no kernels but `index_add`.
"""

import functools
import itertools
import math

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from .. import kernels
from ..autograd import describe, primitive


@primitive
def reshape(x, shape):
    """x with another shape of as many elements; one size may be -1."""
    x = x if x.size < kernels.LARGE else kernels.of(x).contiguous(x)
    return x.reshape(shape)


reshape.defvjp(lambda g, out, x, shape: reshape(g, x.shape))


@primitive
def transpose(x, axes=None):
    """x with its axes in another order (all of them given), reversed by default: a view."""
    return x.transpose(axes)


def _order_back(g, out, x, axes=None):
    if axes is None:
        return transpose(g)
    return transpose(g, tuple(np.argsort([a % x.ndim for a in axes]).tolist()))


transpose.defvjp(_order_back)


def swapaxes(x, first, second):
    """x with two axes exchanged: a view."""
    first, second = (normalize_axis_index(a, x.ndim, "swapaxes") for a in (first, second))
    axes = list(range(x.ndim))
    axes[first], axes[second] = axes[second], axes[first]
    return transpose(x, tuple(axes))


@primitive
def getitem(x, index):
    """x[index], with NumPy's slices, integers, None, Ellipsis, integer arrays and boolean masks."""
    return x[index]


@primitive
def _put(g, index, shape):
    x = kernels.of(g).empty(shape, g.dtype)
    x.fill(0)
    parts = index if isinstance(index, tuple) else (index,)
    if all(i is None or i is Ellipsis or isinstance(i, (int, slice)) for i in parts):
        x[index] = g
    else:
        kernels.of(g).index_add(x, index, g)
    return x


getitem.defvjp(lambda g, out, x, index: _put(g, index, x.shape))
_put.defvjp(lambda g, out, x, index, shape: getitem(g, index))


def pad(x, pad_width):
    """x with zeros around it: `pad_width` is a (before, after) pair for each axis."""
    if len(pad_width) != x.ndim or any(n < 0 for pair in pad_width for n in pair):
        raise ValueError(
            f"pad: needs {x.ndim} pairs (before, after) of numbers >= 0, got {pad_width}"
        )
    sizes = list(zip(x.shape, pad_width))
    inside = tuple(slice(before, before + n) for n, (before, _) in sizes)
    return _put(x, inside, tuple(before + n + after for n, (before, after) in sizes))


class _Each:
    """The rules of an operation of any number of arguments: `rule(i, g, out, ...)` for number i."""

    def __init__(self, rule):
        self.rule = rule

    def __iter__(self):
        return (functools.partial(self.rule, i) for i in itertools.count())


@primitive
def _concatenate(*xs, axis):
    return np.concatenate(xs, axis=axis)


def _part(i, g, out, *xs, axis):
    before = sum(x.shape[axis] for x in xs[:i])
    own = slice(before, before + xs[i].shape[axis])
    return getitem(g, (slice(None),) * axis + (own,))


_concatenate.rules = _Each(_part)


def concatenate(xs, axis=0):
    """The arrays one after another along an axis that they have."""
    xs = list(xs)
    if not xs or not all(hasattr(x, "shape") for x in xs):
        raise TypeError(f"concatenate: needs one array or more, got [{describe(*xs)}]")
    return _concatenate(*xs, axis=normalize_axis_index(axis, xs[0].ndim, "concatenate"))


def stack(xs, axis=0):
    """The arrays, all of one shape, along a new axis."""
    xs = list(xs)
    if len({getattr(x, "shape", None) for x in xs}) != 1:
        raise ValueError(f"stack: needs arrays of one shape, got [{describe(*xs)}]")
    axis = normalize_axis_index(axis, xs[0].ndim + 1, "stack")
    return concatenate([unsqueeze(x, axis) for x in xs], axis)


def unsqueeze(x, axis):
    """x with a new axis of size 1 before `axis` (after the last: x.ndim or -1)."""
    axis = normalize_axis_index(axis, x.ndim + 1, "unsqueeze")
    return reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


def squeeze(x, axis=None):
    """x without its axes of size 1, or without those of `axis`, a number or several, of size 1."""
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = {normalize_axis_index(a, x.ndim, "squeeze") for a in axes}
    kept = [n for i, n in enumerate(x.shape) if n != 1 or i not in axes]
    return reshape(x, tuple(kept))


def flatten(x, start_dim=0, end_dim=-1):
    """Axes `start_dim` to `end_dim` made one, all of them by default."""
    start, end = (normalize_axis_index(a, x.ndim or 1, "flatten") for a in (start_dim, end_dim))
    if start > end:
        raise ValueError(
            f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in x: {describe(x)}"
        )
    one = math.prod(x.shape[start : end + 1])
    return reshape(x, (*x.shape[:start], one, *x.shape[end + 1 :]))
