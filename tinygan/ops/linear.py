"""Matrix products. Their rules are matrix products of the transposed; `kernels.gemm` is their one door."""

import math
import string

import numpy as np

from .. import kernels
from ..autograd import describe, primitive
from .arith import sum_to
from .reduce import sum, sum_channels
from .shape import reshape, swapaxes, transpose


@primitive
def _matmul(x, y):
    return kernels.of(x).gemm(x, y)


_matmul.defvjp(
    lambda g, out, x, y: sum_to(_matmul(g, swapaxes(y, -1, -2)), x.shape),
    lambda g, out, x, y: sum_to(_matmul(swapaxes(x, -1, -2), g), y.shape),
)


def matmul(x, y):
    """x @ y with NumPy's rules: (..., m, k) @ (..., k, n) -> (..., m, n), batches broadcast, 1-D is a row or a column."""
    if not getattr(x, "ndim", 0) or not getattr(y, "ndim", 0) or x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise ValueError(f"matmul: x's last size must be y's last but one (x: {describe(x)}, y: {describe(y)})")
    row = reshape(x, (1, -1)) if x.ndim == 1 else x
    column = reshape(y, (-1, 1)) if y.ndim == 1 else y
    out = _matmul(row, column)
    if x.ndim > 1 and y.ndim > 1:
        return out
    batch, (m, n) = out.shape[:-2], out.shape[-2:]
    return reshape(out, batch + (m,) * (x.ndim > 1) + (n,) * (y.ndim > 1))


@primitive
def _linear(x, w, b=None):
    out = kernels.of(x).gemm(x, w.T)
    return out if b is None else np.add(out, b, out=out if out.dtype == b.dtype else None)


_linear.defvjp(
    lambda g, out, x, w, b=None: _matmul(g, w),
    lambda g, out, x, w, b=None: _matmul(swapaxes(g, 0, 1), x),  # in w's own layout: no copy on the way to the optimizer
    lambda g, out, x, w, b: sum_channels(g),
)


def linear(x, weight, bias=None):
    """x @ weight.T + bias: (..., in), (out, in), (out,) -> (..., out)."""
    if x.ndim < 1 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(f"linear: x's last size must be {weight.shape[-1]} (x: {describe(x)}, weight: {describe(weight)})")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: bias must have shape ({len(weight)},), got {describe(bias)} (weight: {describe(weight)})")
    out = _linear(x if x.ndim == 2 else reshape(x, (-1, x.shape[-1])), weight, bias)
    return out if x.ndim == 2 else reshape(out, x.shape[:-1] + weight.shape[:1])


def einsum(subscripts, *arrays):
    """The sums that `subscripts` writes down, as np.einsum: einsum("bij,bjk->bik", x, y) is a batched matrix product.

    "..." stands for leading axes; without "->" the result has the letters that occur once, in order. Arrays are multiplied
    from left to right, as matrices. ValueError unless each axis has a letter, once in its array, and each letter one size.
    """
    inputs, arrow, result = subscripts.replace(" ", "").partition("->")
    names, sizes = inputs.split(","), {}
    most = max((x.ndim - len(n) + 3 for n, x in zip(names, arrays) if "..." in n), default=0)
    leading = "".join(c for c in string.ascii_letters if c not in subscripts)[:most]
    names = [n.replace("...", leading[most + len(n) - 3 - x.ndim :]) for n, x in zip(names, arrays)]
    once = sorted(c for c in inputs if c.isalpha() and inputs.count(c) == 1)
    result = result.replace("...", leading) if arrow else leading + "".join(once)
    fit = inputs.count(",") + 1 == len(arrays)
    for name, x in zip(names, arrays):
        fit &= len(name) == len(set(name)) == x.ndim
        fit &= all(sizes.setdefault(c, n) == n for c, n in zip(name, x.shape))
    if not fit or len(set(result) & set(sizes)) < len(result):
        raise ValueError(f"einsum: {subscripts!r} does not fit {', '.join(map(describe, arrays))}")
    out, have = arrays[0], names[0]
    for i in range(1, len(arrays)):
        out, have = _contract(out, have, arrays[i], names[i], {*result, *"".join(names[i + 1 :])}, sizes)
    out, have = _summed(out, have, result)
    return transpose(out, [have.index(c) for c in result])


def _contract(x, a, y, b, kept, sizes):
    """x times y, whose axes have the letters a and b, summed over those that are not kept; and the letters of the result."""
    (x, a), (y, b) = _summed(x, a, {*b} | kept), _summed(y, b, {*a} | kept)
    batch, inner = ([c for c in a if c in b and (c in kept) == keep] for keep in (True, False))
    rows, columns = [c for c in a if c not in b], [c for c in b if c not in a]
    count = lambda letters: math.prod(sizes[c] for c in letters)
    lead = [sizes[c] for c in batch]
    left = reshape(transpose(x, [a.index(c) for c in batch + rows + inner]), (*lead, count(rows), count(inner)))
    right = reshape(transpose(y, [b.index(c) for c in batch + inner + columns]), (*lead, count(inner), count(columns)))
    letters = batch + rows + columns
    return reshape(_matmul(left, right), [sizes[c] for c in letters]), letters


def _summed(x, letters, kept):
    """x summed over the axes whose letters are not kept, and those that are."""
    axes = tuple(i for i, c in enumerate(letters) if c not in kept)
    return sum(x, axes) if axes else x, [c for c in letters if c in kept]
