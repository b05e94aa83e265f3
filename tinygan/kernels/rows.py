"""More of the reference: what is done row by row, the softmax under attention, the turning
of its places and layer normalisation; and what adds rows to others.
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


def log_softmax_at(x, index):
    """The logarithm of the softmax of each row at one place: (rows, k), (rows,) -> (rows,). The
    compiled twins check no place: they must be from 0 to k - 1.
    """
    apart = x - x.max(axis=1, keepdims=True)
    row = np.arange(len(x), like=x)
    return apart[row, index] - np.log(np.exp(apart).sum(axis=1))


def turn(x, cos, sin):
    """Each pair of features (j, j + d / 2) of x (..., places, d), as a point of the plane, turned
    by the angle whose cosine and sine stand in cos and sin (places, d / 2).
    """
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


def layer_norm(x, weight, bias, eps):
    """weight * (x - mean) / sqrt(var + eps) + bias by each row's own: (rows, d), (d,), (d,)."""
    normal, _ = _normalised(x, eps)
    return weight * normal + bias


def layer_norm_grad(g, x, weight, eps):
    """The gradients of `layer_norm`, to x, weight and bias, from that of its result, which is g.

    Ba 2016; as in batch normalisation (Ioffe & Szegedy 2015, section 3), but row by row.
    """
    normal, inv = _normalised(x, eps)
    change = g * weight
    along = (change * normal).mean(axis=1, keepdims=True)
    to_x = inv * (change - change.mean(axis=1, keepdims=True) - normal * along)
    return to_x, (g * normal).sum(axis=0), g.sum(axis=0)


def _normalised(x, eps):
    apart = x - x.mean(axis=1, keepdims=True)
    inv = 1 / np.sqrt((apart * apart).mean(axis=1, keepdims=True) + eps)
    return apart * inv, inv


def index_add(x, index, g):
    """x[index] += g in place, where a repeated index adds repeatedly."""
    np.add.at(x, index, g)
