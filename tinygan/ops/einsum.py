"""Sums of products, written as letters: every pair of arrays becomes one matrix product.

There is no rule here, since transposing, multiplying and summing have theirs.
"""

import math
import string

from ..arrays import is_integer
from ..autograd import Tensor, describe
from .linear import matmul
from .reduce import sum
from .shape import reshape, transpose


def einsum(subscripts, *arrays):
    """The sums that `subscripts` writes down, as np.einsum.

    einsum("bij,bjk->bik", x, y) is a batched matrix product. "..." stands for leading axes; without
    "->" the result has the letters that occur once, in order. Arrays are multiplied from left to
    right, as matrices. ValueError unless each axis has a letter, no two of an array the same, and
    each letter has one size.
    """
    names, result = _letters(subscripts, arrays)
    sizes = {}
    fit = len(arrays) == subscripts.count(",") + 1
    for name, x in zip(names, arrays):
        fit &= len(name) == len(set(name)) == x.ndim
        fit &= all(sizes.setdefault(c, n) == n for c, n in zip(name, x.shape))
    if not fit or len(set(result) & set(sizes)) < len(result):
        raise ValueError(f"einsum: {subscripts!r} does not fit {describe(*arrays)}")
    dtype = next((x.dtype for x in arrays if isinstance(x, Tensor)), None)
    if dtype:  # integers beside a Tensor count in its dtype, from the first product on
        arrays = [x.astype(dtype) if is_integer(x) else x for x in arrays]
    out, have = arrays[0], names[0]
    for i in range(1, len(arrays)):
        kept = {*result, *"".join(names[i + 1 :])}
        out, have = _contract((out, have), (arrays[i], names[i]), kept, sizes)
    out, have = _summed(out, have, result)
    return transpose(out, [have.index(c) for c in result])


def _letters(subscripts, arrays):
    """The letters of each array and of the result, with letters for "..." as well."""
    inputs, arrow, result = subscripts.replace(" ", "").partition("->")
    names = inputs.split(",")
    # how many axes "..." stands for, in each array
    counts = [x.ndim - len(name.replace("...", "")) for name, x in zip(names, arrays)]
    most = max((n for name, n in zip(names, counts) if "..." in name), default=0)
    free = "".join(c for c in string.ascii_letters if c not in subscripts)
    dots = free[:most]
    full = []
    for name, n in zip(names, counts):
        last = dots[most - n :]  # fewer axes are the last of them
        full.append(name.replace("...", last))
    if arrow:
        return full, result.replace("...", dots)
    once = sorted(c for c in inputs if c.isalpha() and inputs.count(c) == 1)
    return full, dots + "".join(once)


def _contract(left, right, kept, sizes):
    """The product of two (array, its letters), and its letters; summed over those not kept."""
    x, a = _summed(*left, {*right[1]} | kept)
    y, b = _summed(*right, {*a} | kept)
    batch = [c for c in a if c in b and c in kept]
    inner = [c for c in a if c in b and c not in kept]
    rows = [c for c in a if c not in b]
    columns = [c for c in b if c not in a]
    x = _stacked(x, a, (batch, rows, inner), sizes)
    y = _stacked(y, b, (batch, inner, columns), sizes)
    letters = batch + rows + columns
    return reshape(matmul(x, y), [sizes[c] for c in letters]), letters


def _stacked(x, letters, parts, sizes):
    """x as a stack of matrices; parts: the letters of the stack, of the rows, of the columns."""
    batch, rows, columns = ([sizes[c] for c in part] for part in parts)
    x = transpose(x, [letters.index(c) for part in parts for c in part])
    return reshape(x, (*batch, math.prod(rows), math.prod(columns)))


def _summed(x, letters, kept):
    """x summed over the axes whose letters are not kept, and those that are."""
    axes = tuple(i for i, c in enumerate(letters) if c not in kept)
    return sum(x, axes) if axes else x, [c for c in letters if c in kept]
