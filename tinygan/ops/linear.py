"""Matrix products: their rules are matrix products too, and `kernels.gemm` does them all."""

import numpy as np

from .. import kernels
from ..autograd import describe, primitive
from .arith import sum_to
from .reduce import sum_channels
from .shape import reshape, swapaxes


@primitive
def _matmul(x, y):
    return kernels.of(x).gemm(x, y)


_matmul.defvjp(
    lambda g, out, x, y: sum_to(_matmul(g, swapaxes(y, -1, -2)), x.shape),
    lambda g, out, x, y: sum_to(_matmul(swapaxes(x, -1, -2), g), y.shape),
)


def matmul(x, y):
    """x @ y with NumPy's rules: (..., m, k) @ (..., k, n) -> (..., m, n).

    Batches broadcast; an array with one axis is a row, as y a column.
    """
    axes = getattr(x, "ndim", 0) and getattr(y, "ndim", 0)
    if not axes or x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise ValueError(
            f"matmul: x's last size must be y's last but one (x: {describe(x)}, y: {describe(y)})"
        )
    row = reshape(x, (1, -1)) if x.ndim == 1 else x
    column = reshape(y, (-1, 1)) if y.ndim == 1 else y
    out = _matmul(row, column)
    if x.ndim > 1 and y.ndim > 1:
        return out
    *batch, m, n = out.shape
    ends = [m] * (x.ndim > 1) + [n] * (y.ndim > 1)
    return reshape(out, (*batch, *ends))


@primitive
def _linear(x, w, b=None):
    out = kernels.of(x).gemm(x, w.T)
    return out if b is None else np.add(out, b, out=out if out.dtype == b.dtype else None)


_linear.defvjp(
    lambda g, out, x, w, b=None: _matmul(g, w),
    # in w's own layout: no copy on the way to the optimizer
    lambda g, out, x, w, b=None: _matmul(swapaxes(g, 0, 1), x),
    lambda g, out, x, w, b: sum_channels(g),
)


def linear(x, weight, bias=None):
    """x @ weight.T + bias: (..., in), (out, in), (out,) -> (..., out)."""
    if x.ndim < 1 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"linear: x's last size must be {weight.shape[-1]}"
            f" (x: {describe(x)}, weight: {describe(weight)})"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"linear: bias must have shape ({len(weight)},), got {describe(bias)}"
            f" (weight: {describe(weight)})"
        )
    if x.ndim == 2:
        return _linear(x, weight, bias)
    out = _linear(reshape(x, (-1, x.shape[-1])), weight, bias)
    return reshape(out, x.shape[:-1] + weight.shape[:1])
