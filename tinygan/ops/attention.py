"""Attention: each place of a sequence takes from all others what its question fits.

A place has three vectors: its query, what it looks for; its key, by which others find it; and its
value, what it hands over. The product of a query and a key is a score; a softmax over the scores of
a query makes weights that add to 1, with which it takes the mean of the values. The sum of d
products of random numbers grows as sqrt(d), and a softmax of large scores hardly moves: hence the
division by it.
"""

import numpy as np

from .. import kernels
from ..arrays import adopted
from ..autograd import Tensor, describe, primitive
from .arith import raw, where
from .dropout import dropout
from .linear import matmul
from .reduce import sum
from .shape import reshape, swapaxes


@primitive
def _softmax_rows_grad(g, p, *, scale):
    """The gradient of `_softmax_rows`, whose result is p: scale * p * (g - sum(g * p))."""
    return kernels.of(p).softmax_rows_grad(g, p, scale)


def _to_p(h, out, g, p, *, scale):
    apart = g - sum(g * p, -1, keepdims=True)
    return scale * (h * apart - g * sum(h * p, -1, keepdims=True))


# as a function of g it is symmetric
_softmax_rows_grad.defvjp(
    lambda h, out, g, p, *, scale: _softmax_rows_grad(h, p, scale=scale), _to_p
)


@primitive
def _softmax_rows(x, *, scale, causal):
    """The softmax of scale * x over the last axis, zeros for a row with nothing but -inf."""
    return kernels.of(x).softmax_rows(x, scale, causal)


_softmax_rows.defvjp(
    lambda g, out, x, *, scale, causal: _softmax_rows_grad(g, out, scale=scale)
)  # fmt: skip


@primitive
def _turned(x, cos, sin):
    """Each pair of features turned by an angle: `kernels.reference.turn`, `nn.RotaryEmbedding`."""
    return kernels.of(x).turn(x, cos, sin)


_turned.defvjp(lambda g, out, x, cos, sin: _turned(g, cos, -sin))  # turned back


def attention_weights(query, key, attn_mask=None, is_causal=False, scale=None):
    """softmax(scale * query @ key^T): (..., q, d), (..., k, d) -> (..., q, k), rows that add to 1.

    scale: 1 / sqrt(d) unless given. attn_mask: it broadcasts to (..., q, k): raw and bool, True
    where a query may look, or floats, a Tensor's too, that are added before the softmax. is_causal:
    query i looks at keys 0 to i only. A query that may look nowhere has a row of zeros.
    """
    return _weights("attention_weights", query, key, attn_mask, is_causal, scale)


def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None
):
    """attention_weights(...) @ value: (..., q, d), (..., k, d), (..., k, e) -> (..., q, e).

    dropout_p: the part of the weights that is dropped, whether anything trains or not, as in
    PyTorch; the other arguments as in `attention_weights`. (Vaswani 2017, equation 1)
    """
    name = "scaled_dot_product_attention"
    if not (key.ndim >= 2 <= value.ndim and key.shape[-2] == value.shape[-2]):
        raise ValueError(
            f"{name}: needs query (..., q, d), key (..., k, d) and value"
            f" (..., k, e), got {describe(query, key, value)}"
        )
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"{name}: dropout_p must be from 0 to 1, got {dropout_p}")
    weights = _weights(name, query, key, attn_mask, is_causal, scale)
    if dropout_p and weights.size:
        rows = reshape(weights, (-1, weights.shape[-1]))
        weights = reshape(dropout(rows, dropout_p), weights.shape)
    return matmul(weights, value)


def _weights(name, query, key, attn_mask, is_causal, scale):
    if not (query.ndim >= 2 <= key.ndim and query.shape[-1] == key.shape[-1]):
        raise ValueError(
            f"{name}: needs query (..., q, d) and key (..., k, d), got {describe(query, key)}"
        )
    scores, attn_mask = matmul(query, swapaxes(key, -1, -2)), adopted(attn_mask)
    scale = max(query.shape[-1], 1) ** -0.5 if scale is None else scale
    if attn_mask is not None or isinstance(scale, Tensor):
        scores, scale = scores * scale, 1.0
    if attn_mask is not None:
        _check_mask(name, attn_mask, scores)
        mask = raw(attn_mask)
        scores = where(mask, scores, -np.inf) if mask.dtype == bool else scores + attn_mask
    return _softmax_rows(scores, scale=scale, causal=bool(is_causal))


def _check_mask(name, attn_mask, scores):
    mask = raw(attn_mask)
    if not hasattr(mask, "dtype") or mask.dtype not in (bool, scores.dtype):
        # numbers of another kind, such as zeros and ones, would be added to the scores
        raise TypeError(
            f"{name}: attn_mask must be bool or {scores.dtype}, got {describe(attn_mask)}:"
            " a raw array, or a Tensor of floats"
        )
    try:
        fits = np.broadcast_shapes(mask.shape, scores.shape) == scores.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name}: attn_mask {describe(attn_mask)} does not broadcast to the scores,"
            f" {scores.shape}"
        )
