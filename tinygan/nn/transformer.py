"""Layers of Transformers (Vaswani 2017): attention in heads, rotary positions, and the block that
is repeated, with PyTorch's names and keys.

`ops.scaled_dot_product_attention` says who looks at whom; here is what is learnt around it.
"""

import numpy as np

from .. import ops
from ..autograd import describe
from ..device import is_array
from . import init
from .layers import Dropout, Linear
from .module import Module, Parameter
from .norm import LayerNorm


class MultiheadAttention(Module):
    """Each place of `query` takes from those of `key` and `value` what it asks for, in `num_heads`
    parts of the features that look about on their own (Vaswani 2017, section 3.2.2).

    query (n, q, embed_dim), key and value (n, k, embed_dim) if `batch_first`, else with the first
    two axes the other way round; all three may be without n. Gives what was found, of query's
    shape, and the weights with which it looked, (n, q, k), the mean over the heads, or (n,
    num_heads, q, k) unless `average_attn_weights`; None unless `need_weights`. dropout: of the
    weights, in training.

    key_padding_mask (n, k), attn_mask (q, k) or (n * num_heads, q, k): raw, of bool and True where
    one may *not* look, as in PyTorch, or floats that are added before the softmax. is_causal: place
    i looks at places 0 to i. Who may look nowhere finds zeros.
    """

    def __init__(self, embed_dim, num_heads, dropout=0.0, bias=True, *, batch_first=False):
        if num_heads < 1 or embed_dim % num_heads:
            words = f"{num_heads} heads cannot share {embed_dim} features equally"
            raise ValueError(f"MultiheadAttention: {words}")
        self.embed_dim, self.num_heads, self.batch_first = embed_dim, num_heads, batch_first
        self.dropout = Dropout(dropout).p  # which refuses a wrong one
        bound = (6 / (4 * embed_dim)) ** 0.5  # of the three as one matrix (Glorot & Bengio 2010)
        self.in_proj_weight = init.uniform((3 * embed_dim, embed_dim), bound)
        self.in_proj_bias = Parameter(np.zeros(3 * embed_dim, np.float32)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        if bias:
            self.out_proj.bias.data[...] = 0

    def forward(
        self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None,
        average_attn_weights=True, is_causal=False,
    ):  # fmt: skip
        single, alone = query.ndim == 2, query is key is value
        query, key, value = (self._batch(x) for x in (query, key, value))
        if len(key) != len(query) or key.shape != value.shape:
            got = describe(query, key, value)
            raise ValueError(f"MultiheadAttention: query, key and value do not fit: {got}")
        q, k, v = self.heads(query) if alone else self.heads(query, key, value)
        mask = self._mask(key_padding_mask, attn_mask, q, k)
        dropout = self.dropout if self.training else 0.0
        if not need_weights:
            found = ops.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal)
            return self._as_given(self.joined(found), single), None
        weights = ops.attention_weights(q, k, mask, is_causal)
        found = self.joined(ops.matmul(Dropout(dropout)(weights), v))
        weights = ops.mean(weights, 1) if average_attn_weights else weights
        return self._as_given(found, single), weights[0] if single else weights

    def heads(self, query, key=None, value=None):
        """Query, key and value of each head, (n, num_heads, places, features), of inputs (n,
        places, embed_dim): of one, in one product, or of three.
        """
        weight, bias = self.in_proj_weight, self.in_proj_bias
        n, places, c = query.shape
        size = self.num_heads, c // self.num_heads
        if key is None:
            parts = ops.reshape(ops.linear(query, weight, bias), (n, places, 3, *size))
            parts = ops.transpose(parts, (2, 0, 3, 1, 4))
            return parts[0], parts[1], parts[2]
        found = []
        for i, x in enumerate((query, key, value)):
            own = slice(i * c, (i + 1) * c)
            x = ops.linear(x, weight[own], None if bias is None else bias[own])
            found.append(ops.transpose(ops.reshape(x, (n, -1, *size)), (0, 2, 1, 3)))
        return found

    def joined(self, found):
        """What the heads have found, (n, num_heads, places, features): (n, places, embed_dim)."""
        n, _, places, _ = found.shape
        found = ops.reshape(ops.transpose(found, (0, 2, 1, 3)), (n, places, self.embed_dim))
        return self.out_proj(found)

    def _batch(self, x):
        """x as (n, places, embed_dim)."""
        if x.ndim not in (2, 3) or x.shape[-1] != self.embed_dim:
            order = "n, places" if self.batch_first else "places, n"
            wanted = f"({order}, {self.embed_dim}), or without n"
            raise ValueError(f"MultiheadAttention: needs {wanted}, got {describe(x)}")
        if x.ndim == 2:
            return ops.reshape(x, (1, *x.shape))
        return x if self.batch_first else ops.swapaxes(x, 0, 1)

    def _as_given(self, x, single):
        """x (n, places, embed_dim) as the query came."""
        if single:
            return ops.reshape(x, x.shape[1:])
        return x if self.batch_first else ops.swapaxes(x, 0, 1)

    def _mask(self, padding, mask, q, k):
        """Both masks as `ops.scaled_dot_product_attention` takes one, or None."""
        n, heads, queries, _ = q.shape
        keys, allowed, added = k.shape[2], None, None
        own = (n * heads, queries, keys)
        for name, given, shapes in (
            ("key_padding_mask", padding, [(n, keys)] + [(keys,)] * (n == 1)),
            ("attn_mask", mask, [(queries, keys), own]),
        ):
            if given is None:
                continue
            if not is_array(given) or given.shape not in shapes or given.dtype.kind not in "bf":
                words = f"{name} must be {' or '.join(map(str, shapes))}, raw, of bool or floats"
                raise ValueError(f"MultiheadAttention: {words}, got {describe(given)}")
            if given is padding:
                given = given.reshape(n, 1, 1, keys)
            elif given.shape == own:
                given = given.reshape(n, heads, queries, keys)
            if given.dtype == bool:
                allowed = ~given if allowed is None else allowed & ~given
            else:
                added = given if added is None else added + given
        if added is None or allowed is None:
            return allowed if added is None else added
        return np.where(allowed, added, -np.inf).astype(added.dtype)


class RotaryEmbedding(Module):
    """Places told by turning: x (..., places, dim) with each pair of features (j, j + dim / 2)
    turned by an angle that grows with the place, as base ** (-2 j / dim) times it. Of queries and
    keys so turned, a product knows how far they are apart, and nothing else. (Su 2021, equation 34)
    """

    def __init__(self, dim, base=10_000.0):
        if dim < 2 or dim % 2:
            raise ValueError(f"RotaryEmbedding: dim must be even, 2 or more, got {dim}")
        self.dim = dim
        self.frequencies = (base ** (-np.arange(0, dim, 2) / dim)).astype(np.float32)

    def forward(self, x, start=0):
        """start: the first one's place."""
        if x.shape[-1] != self.dim:
            raise ValueError(f"RotaryEmbedding: needs x (..., {self.dim}), got {describe(x)}")
        places = np.arange(start, start + x.shape[-2], like=self.frequencies)
        angles = places[:, None].astype(np.float64) * self.frequencies
        cos, sin = (f(angles).astype(x.dtype) for f in (np.cos, np.sin))
        half = self.dim // 2
        first, second = x[..., :half], x[..., half:]
        return ops.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


ACTIVATIONS = {"relu": ops.relu, "gelu": ops.gelu}


class TransformerEncoderLayer(Module):
    """A block (n, places, d_model) -> the same, if `batch_first`, else (places, n, d_model): each
    place takes from the others (`MultiheadAttention`), and then goes through a dense layer of
    `dim_feedforward` features and one back; what comes in is added to both (Vaswani 2017).

    norm_first: `LayerNorm` ahead of both, which trains without a warm-up (Xiong 2020), and not
    after them. activation: "relu", "gelu" or a function. src_mask, src_key_padding_mask,
    is_causal: see `MultiheadAttention`.
    """

    def __init__(
        self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation="relu",
        layer_norm_eps=1e-5, batch_first=False, norm_first=False, bias=True,
    ):  # fmt: skip
        if not callable(activation) and activation not in ACTIVATIONS:
            known = " or ".join(map(repr, ACTIVATIONS))
            words = f"activation must be {known} or a function, got {activation!r}"
            raise ValueError(f"TransformerEncoderLayer: {words}")
        attention = {"batch_first": batch_first}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, **attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.norm_first = norm_first
        self.activation = ACTIVATIONS.get(activation, activation)

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        masks = src_key_padding_mask, False, src_mask, True, is_causal
        look = lambda x: self.dropout1(self.self_attn(x, x, x, *masks)[0])
        if self.norm_first:
            x = src + look(self.norm1(src))
            return x + self.feed_forward(self.norm2(x))
        x = self.norm1(src + look(src))
        return self.norm2(x + self.feed_forward(x))

    def feed_forward(self, x):
        """The two dense layers, place by place."""
        h = self.dropout(self.activation(self.linear1(x)))
        return self.dropout2(self.linear2(h))
