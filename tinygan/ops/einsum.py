"""Sums of products, written as letters: every pair of arrays becomes one matrix product.

There is no rule here, since transposing, multiplying and summing have theirs.
"""

import math
import string

from ..autograd import Tensor, describe
from .linear import matmul
from .reduce import sum
from .shape import reshape, transpose


def einsum(subscripts, *arrays):
    """The sums that `subscripts` writes down, as np.einsum: einsum("bij,bjk->bik", x, y) is a
    batched matrix product.

    "..." stands for leading axes; without "->" the result has the letters that occur once, in
    order. Arrays are multiplied from left to right, as matrices. ValueError unless each axis has a
    letter, once in its array, and each letter one size.
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
    dtype = next((x.dtype for x in arrays if isinstance(x, Tensor)), None)
    if dtype:  # integers beside a Tensor count in its dtype, from the first product on
        arrays = [x.astype(dtype) if x.dtype.kind in "iub" else x for x in arrays]
    out, have = arrays[0], names[0]
    for i in range(1, len(arrays)):
        out, have = _contract(
            out, have, arrays[i], names[i], {*result, *"".join(names[i + 1 :])}, sizes
        )
    out, have = _summed(out, have, result)
    return transpose(out, [have.index(c) for c in result])


def _contract(x, a, y, b, kept, sizes):
    """x times y, whose axes have the letters a and b, summed over those that are not kept; and the
    letters of the result.
    """
    (x, a), (y, b) = _summed(x, a, {*b} | kept), _summed(y, b, {*a} | kept)
    batch, inner = ([c for c in a if c in b and (c in kept) == keep] for keep in (True, False))
    rows, columns = [c for c in a if c not in b], [c for c in b if c not in a]
    count = lambda letters: math.prod(sizes[c] for c in letters)
    lead = [sizes[c] for c in batch]
    left = reshape(
        transpose(x, [a.index(c) for c in batch + rows + inner]), (*lead, count(rows), count(inner))
    )
    right = reshape(
        transpose(y, [b.index(c) for c in batch + inner + columns]),
        (*lead, count(inner), count(columns)),
    )
    letters = batch + rows + columns
    return reshape(matmul(left, right), [sizes[c] for c in letters]), letters


def _summed(x, letters, kept):
    """x summed over the axes whose letters are not kept, and those that are."""
    axes = tuple(i for i, c in enumerate(letters) if c not in kept)
    return sum(x, axes) if axes else x, [c for c in letters if c in kept]
