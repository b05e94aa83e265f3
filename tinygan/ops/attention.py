"""Attention: each place of a sequence takes from all others what its question fits."""

import numpy as np

from ..autograd import describe
from .activations import softmax
from .arith import raw, where
from .linear import matmul
from .shape import swapaxes


def scaled_dot_product_attention(
    query, key, value, attn_mask=None, is_causal=False, scale=None
):  # fmt: skip
    """softmax(scale * query @ key^T) @ value: (..., q, d), (..., k, d), (..., k, e) -> (..., q, e).

    scale: 1 / sqrt(d) unless given. attn_mask: raw, it broadcasts to (..., q, k): bool, True where
    a query may look, or floats that are added before the softmax. is_causal: query i looks at keys
    0 to i only. (Vaswani 2017, equation 1)
    """
    fits = query.ndim >= 2 and key.ndim >= 2 and value.ndim >= 2
    if not fits or query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ValueError(
            "scaled_dot_product_attention: needs query (..., q, d), key (..., k, d) and value"
            f" (..., k, e), got {describe(query, key, value)}"
        )
    scores = matmul(query, swapaxes(key, -1, -2))
    scores = scores * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        places = [np.arange(n, like=raw(query)) for n in scores.shape[-2:]]
        scores = where(places[1] <= places[0][:, None], scores, -np.inf)
    if attn_mask is not None:
        mask = raw(attn_mask)
        if mask.dtype not in (bool, scores.dtype):  # zeros and ones would be added to the scores
            kinds = f"bool or {scores.dtype}"
            raise TypeError(
                f"scaled_dot_product_attention: attn_mask must be {kinds}, got {mask.dtype}"
            )
        scores = where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    return matmul(softmax(scores), value)
