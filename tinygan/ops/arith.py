"""Arithmetic, element by element, with NumPy's broadcasting; read this room first.

An operation is a function on raw arrays, and above it one rule per argument: g is the incoming
gradient, out the result. An argument that was broadcast gets its gradient summed back to its own
shape. NumPy's functions answer for CuPy arrays too, and `kernels.by_size` shares large arrays out
among the cores. This room knows no layers.

Where a derivative does not exist: `abs` has 0 at 0, `sqrt` has inf at 0, ties of `maximum` and
`minimum` give each side half, `clip` passes the gradient at its bounds.
"""

import numpy as np

from .. import kernels
from ..arrays import adopted
from ..autograd import Tensor, describe, primitive


def raw(x):
    """The array of a Tensor, or x itself: comparisons, which have no derivative, are made on it."""
    return x.data if isinstance(x, Tensor) else adopted(x)


@primitive
def broadcast_to(x, shape):
    """x repeated along new axes and axes of size 1: a read-only view."""
    return np.broadcast_to(x, shape)


def total(x, axis, keepdims=False):
    """x.sum(axis), raw.

    Along outer axes alone NumPy adds one number after another: many float32 are added in float64.
    """
    if x.size >= kernels.LARGE and x.dtype == np.float32:
        axes = axis if isinstance(axis, tuple) else (axis,)
        if not {None, -1, x.ndim - 1} & {*axes}:
            return x.sum(axis=axis, keepdims=keepdims, dtype=np.float64).astype(np.float32)
    return x.sum(axis=axis, keepdims=keepdims)


@primitive
def _sum_to(g, shape):
    lead = g.ndim - len(shape)  # axes that shape has not
    repeated = [i + lead for i, n in enumerate(shape) if n == 1 and g.shape[i + lead] != 1]
    return total(g, (*range(lead), *repeated), True).reshape(shape)


def sum_to(g, shape):
    """The adjoint of `broadcast_to`: g summed over the axes along which `shape` was repeated."""
    return g if g.shape == shape else _sum_to(g, shape)


broadcast_to.defvjp(lambda g, out, x, shape: sum_to(g, x.shape))
_sum_to.defvjp(lambda g, out, x, shape: broadcast_to(g, x.shape))


def elementwise(*rules):
    """Make a primitive of a function of one or two arrays that broadcast: one rule for each."""

    def decorate(f):
        op = primitive(kernels.by_size(f))
        op.elementwise = True
        op.defvjp(*rules)
        if len(rules) == 2:  # what was broadcast is summed back
            to_x, to_y = rules
            op.defvjp(
                lambda g, out, x, y: sum_to(to_x(g, out, x, y), x.shape),
                lambda g, out, x, y: sum_to(to_y(g, out, x, y), y.shape),
            )
        return op

    return decorate


@primitive
def _astype(x, dtype):
    return x.astype(dtype)


_astype.defvjp(lambda g, out, x, dtype: _astype(g, x.dtype))


def astype(x, dtype):
    """x in float32 or float64, else TypeError; its gradient comes back in x's own dtype."""
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(
            "astype: a Tensor is of float32 or float64;"
            f" x.data.astype({str(dtype)!r}) is a raw array"
        )
    return _astype(x, dtype)


@elementwise(lambda g, out, x, y: g, lambda g, out, x, y: g)
def add(x, y):
    """x + y."""
    return x + y


@elementwise(lambda g, out, x, y: g, lambda g, out, x, y: -g)
def subtract(x, y):
    """x - y."""
    return x - y


@elementwise(lambda g, out, x, y: multiply(g, y), lambda g, out, x, y: multiply(g, x))
def multiply(x, y):
    """x * y."""
    return x * y


@elementwise(lambda g, out, x, y: g / y, lambda g, out, x, y: -g * out / y)
def divide(x, y):
    """x / y."""
    return x / y


@elementwise(lambda g, out, x: -g)
def negative(x):
    """-x."""
    return -x


def _power_x(g, out, x, y):
    if isinstance(y, (int, float)):
        return (g * y * x ** (y - 1)) if y else (g * 0.0)
    # x**0 is 1 everywhere: slope 0, where x is 0 or NaN too
    flat = (raw(y) == 0) & ~(np.abs(raw(x)) > 0)
    return g * y * where(flat, 1.0, x) ** (y - 1)


def _power_y(g, out, x, y):
    x = x if isinstance(x, Tensor) or np.ndim(x) else np.full_like(raw(y), x)
    # 0**y is 0 for all y > 0: slope 0; for y < 0 it is inf
    flat = (raw(x) == 0) & (raw(y) >= 0)
    return g * out * log(where(flat, 1.0, x))


@elementwise(_power_x, _power_y)
def power(x, y):
    """x ** y."""
    return x**y


@elementwise(lambda g, out, x: g * out)
def exp(x):
    """e ** x."""
    return np.exp(x)


@elementwise(lambda g, out, x: g / x)
def log(x):
    """The natural logarithm."""
    return np.log(x)


@elementwise(lambda g, out, x: g * cos(x))
def sin(x):
    """The sine."""
    return np.sin(x)


@elementwise(lambda g, out, x: -g * sin(x))
def cos(x):
    """The cosine."""
    return np.cos(x)


@elementwise(lambda g, out, x: g * 0.5 / out)
def sqrt(x):
    """The square root."""
    return np.sqrt(x)


@elementwise(lambda g, out, x: g * np.sign(raw(x)))
def abs(x):
    """The absolute value."""
    return np.abs(x)


@primitive
def where(condition, x, y):
    """x where `condition` (a raw array of booleans), else y.

    The branch not taken gets a gradient of exactly 0, even where it is NaN.
    """
    return np.where(condition, x, y)


where.defvjp(
    None,
    lambda g, out, condition, x, y: sum_to(where(condition, g, 0.0), x.shape),
    lambda g, out, condition, x, y: sum_to(where(condition, 0.0, g), y.shape),
)


def _share(g, x, y):
    """x's share of g in the larger of x and y: all or nothing of it, half of a tie.

    Where either is NaN, and so is the result, both get all of it.
    """
    less, not_greater = raw(x) < raw(y), raw(x) <= raw(y)
    return g * (1 - 0.5 * less.astype(g.dtype) - 0.5 * not_greater.astype(g.dtype))


@elementwise(lambda g, out, x, y: _share(g, x, y), lambda g, out, x, y: _share(g, y, x))
def maximum(x, y):
    """The larger of x and y, element by element."""
    return np.maximum(x, y)


# the smaller gets what the larger would leave to it above: x and y change places
@elementwise(lambda g, out, x, y: _share(g, y, x), lambda g, out, x, y: _share(g, x, y))
def minimum(x, y):
    """The smaller of x and y, element by element."""
    return np.minimum(x, y)


@primitive
def _clip(x, min, max):
    return np.clip(x, min, max)


def _inside(g, out, x, min, max):
    below = raw(x) < (-np.inf if min is None else min)
    above = raw(x) > (np.inf if max is None else max)
    return where(below | above, 0.0, g)


_clip.defvjp(_inside)


def clip(x, min=None, max=None):
    """x limited to [min, max], each a number, or a raw array that broadcasts to x, or no limit."""
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        raise TypeError(
            "clip: min and max have no gradient, and cannot be Tensors:"
            " ops.maximum and ops.minimum have one"
        )
    if np.broadcast_shapes(x.shape, np.shape(min), np.shape(max)) != x.shape:
        raise ValueError(
            f"clip: bounds of shapes {np.shape(min)} and {np.shape(max)} do not broadcast to"
            f" x: {describe(x)}"
        )
    return _clip(x, min, max)
