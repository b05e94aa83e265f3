"""More of the reference: what is done row by row, the softmax under attention, and what adds rows
to others.
"""

import numpy as np


def softmax_rows(x, scale, causal):
    """The softmax of scale * x over the last axis: (..., q, k) -> (..., q, k).

    causal: of row i only the entries 0 to i count, and the others become 0. A row without any, or
    with nothing but -inf, becomes zeros.
    """
    if not x.size:
        return x.copy()
    x = x * scale
    if causal:
        row, column = (np.arange(n, like=x) for n in x.shape[-2:])
        seen = column <= row[:, None]
        x = np.where(seen, x, -np.inf)
    top = x.max(axis=-1, keepdims=True)
    empty = top == -np.inf
    e = np.exp(x - np.where(empty, 0.0, top))
    p = e / np.where(empty, 1.0, e.sum(axis=-1, keepdims=True))
    return np.where(seen, p, 0.0) if causal else p  # 0 beside a NaN too


def softmax_rows_grad(g, p, scale):
    """The gradient of `softmax_rows`, whose result is p, from that of p, which is g."""
    return scale * p * (g - (g * p).sum(axis=-1, keepdims=True))


def index_add(x, index, g):
    """x[index] += g in place, where a repeated index adds repeatedly."""
    np.add.at(x, index, g)
