"""Layers of Transformers (Vaswani 2017): attention in heads, rotary positions, and the block that
is repeated, with PyTorch's names and keys.

`ops.scaled_dot_product_attention` says who looks at whom; here is what is learnt around it.
"""

import copy

import numpy as np

from .. import ops
from ..arrays import adopted
from ..autograd import describe
from ..ops.attention import _turned
from . import init
from .layers import Dropout, Linear, ModuleList
from .module import Module, Parameter
from .norm import LayerNorm


class MultiheadAttention(Module):
    """Each place of `query` takes from those of `key` and `value` what it asks for, in `num_heads`
    parts of the features that look about on their own (Vaswani 2017, section 3.2.2).

    query (n, q, embed_dim), key and value (n, k, embed_dim) if `batch_first`, else with the first
    two axes the other way round; all three may be without n. Gives what was found, of query's
    shape, and the weights with which it looked, (n, q, k), the mean over the heads, or (n,
    num_heads, q, k) unless `average_attn_weights`; None unless `need_weights`, which is faster.
    dropout: of the weights, in training.

    key_padding_mask (n, k), attn_mask (q, k) or (n * num_heads, q, k): of bool, raw, and True where
    one may *not* look, as in PyTorch (`ops.scaled_dot_product_attention` has it the other way
    round); or of floats, which are added before the softmax. is_causal: place i looks at places 0
    to i, whether there is a mask or not. Who may look nowhere finds zeros, of
    which `out_proj` makes its bias, where PyTorch has NaN.
    """

    def __init__(
        self, embed_dim, num_heads, dropout=0.0, bias=True, add_bias_kv=False, add_zero_attn=False,
        kdim=None, vdim=None, batch_first=False,
    ):  # fmt: skip
        same = kdim in (None, embed_dim) and vdim in (None, embed_dim)
        if add_bias_kv or add_zero_attn or not same:
            words = "add_bias_kv, add_zero_attn, and another kdim or vdim than embed_dim"
            raise TypeError(f"MultiheadAttention: there is no {words}")
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
        single = query.ndim == 2
        query, key, value = self._with_batch_first(query, key, value)
        q, k, v = self.heads(query, key, value)
        mask = self._mask(key_padding_mask, attn_mask, q, k, single)
        if need_weights:
            weights = ops.attention_weights(q, k, mask, is_causal)
            weights = ops.dropout(weights, self.dropout, self.training)
            found = ops.matmul(weights, v)
            weights = ops.mean(weights, 1) if average_attn_weights else weights
        else:
            dropout = self.dropout if self.training else 0.0
            found = ops.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal)
        found = self.joined(found)
        if single:
            return found[0], weights[0] if need_weights else None
        found = found if self.batch_first else ops.swapaxes(found, 0, 1)
        return found, weights if need_weights else None

    def heads(self, query, key, value):
        """Query, key and value of each head, (n, num_heads, places, features), of inputs (n,
        places, embed_dim). Three products, also where these are the same: a part of one product
        would have a gradient as large as the whole, most of it zeros.
        """
        weight, bias = self.in_proj_weight, self.in_proj_bias
        size = self.num_heads, self.embed_dim // self.num_heads
        found = []
        for i, x in enumerate((query, key, value)):
            own = slice(i * self.embed_dim, (i + 1) * self.embed_dim)
            part = ops.linear(x, weight[own], None if bias is None else bias[own])
            part = ops.reshape(part, (*x.shape[:2], *size))
            found.append(ops.transpose(part, (0, 2, 1, 3)))
        return found

    def joined(self, found):
        """What the heads have found, (n, num_heads, places, features), as one: (n, places,
        embed_dim).
        """
        n, _, places, _ = found.shape
        found = ops.reshape(ops.transpose(found, (0, 2, 1, 3)), (n, places, self.embed_dim))
        return self.out_proj(found)

    def _with_batch_first(self, *inputs):
        """Query, key and value as (n, places, embed_dim), n 1 where there is none."""
        query, key, value = inputs
        batch = 0 if self.batch_first else 1
        fits = query.ndim in (2, 3) and query.shape[-1:] == (self.embed_dim,)
        fits = fits and query.ndim == key.ndim and key.shape == value.shape
        fits = fits and key.shape[-1] == self.embed_dim
        if not fits or query.ndim == 3 and key.shape[batch] != query.shape[batch]:
            places = "(n, {}, {})" if self.batch_first else "({}, n, {})"
            query, key = (places.format(name, self.embed_dim) for name in "qk")
            words = f"needs query {query}, key and value {key}, or all without n"
            raise ValueError(f"MultiheadAttention: {words}, got {describe(*inputs)}")
        if query.ndim == 2:
            return [ops.reshape(x, (1, *x.shape)) for x in inputs]
        return inputs if self.batch_first else [ops.swapaxes(x, 0, 1) for x in inputs]

    def _mask(self, padding, mask, q, k, single):
        """Both masks as the one that attention takes, True where one may look; None for none."""
        n, heads, queries, _ = q.shape
        keys = k.shape[2]
        shapes = {(queries, keys): (queries, keys)}  # as given: as used
        shapes[n * heads, queries, keys] = n, heads, queries, keys
        own = {(keys,) if single else (n, keys): (n, 1, 1, keys)}
        seen = added = None
        for name, given, known in (
            ("key_padding_mask", padding, own), ("attn_mask", mask, shapes)
        ):  # fmt: skip
            if given is None:
                continue
            given = adopted(given)
            if getattr(given, "shape", None) not in known or given.dtype not in (bool, q.dtype):
                wanted = f"{' or '.join(map(str, known))}, of bool or {q.dtype}"
                raise ValueError(
                    f"MultiheadAttention: {name} must be {wanted}, got {describe(given)}"
                )
            given = ops.reshape(given, known[given.shape])
            if given.dtype == bool:
                seen = ~given if seen is None else seen & ~given
            else:
                added = given if added is None else added + given
        if seen is None or added is None:
            return added if seen is None else seen
        return ops.where(seen, added, -np.inf)


class RotaryEmbedding(Module):
    """Places told by turning: x (..., places, dim) with each pair of features (j, j + dim / 2)
    turned by an angle that grows with the place, as base ** (-2 j / dim) times it. Of queries and
    keys so turned, a product knows how far they are apart, and nothing else. (Su 2021, equation 34)
    """

    def __init__(self, dim, base=10_000.0):
        if dim < 2 or dim % 2:
            raise ValueError(f"RotaryEmbedding: dim must be even, 2 or more, got {dim}")
        self.dim, self.base = dim, base

    def forward(self, x, start=0):
        """start: the first one's place."""
        if x.ndim < 2 or x.shape[-1] != self.dim:
            wanted = f"(..., places, {self.dim})"
            raise ValueError(f"RotaryEmbedding: needs x {wanted}, got {describe(x)}")
        half = self.dim // 2
        places, pairs = (
            np.arange(first, first + n, like=ops.raw(x)).astype(np.float64)
            for first, n in ((start, x.shape[-2]), (0, half))
        )
        angles = places[:, None] * self.base ** (pairs / -half)
        cos, sin = (f(angles).astype(x.dtype) for f in (np.cos, np.sin))
        return _turned(x, cos, sin)


def _gelu_tanh(x):
    return ops.gelu(x, "tanh")


ACTIVATIONS = {"relu": ops.relu, "gelu": ops.gelu, "gelu_tanh": _gelu_tanh}


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
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout=dropout, bias=bias, batch_first=batch_first
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.norm_first = norm_first
        self.activation = ACTIVATIONS.get(activation, activation)

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        masks = {"attn_mask": src_mask, "key_padding_mask": src_key_padding_mask}
        masks["is_causal"] = is_causal
        if self.norm_first:
            x = src + self._look(self.norm1(src), masks)
            return x + self.feed_forward(self.norm2(x))
        x = self.norm1(src + self._look(src, masks))
        return self.norm2(x + self.feed_forward(x))

    def _look(self, x, masks):
        """What each place takes from the others."""
        found, _ = self.self_attn(x, x, x, need_weights=False, **masks)
        return self.dropout1(found)

    def feed_forward(self, x):
        """The two dense layers, place by place."""
        h = self.dropout(self.activation(self.linear1(x)))
        return self.dropout2(self.linear2(h))


class TransformerEncoder(Module):
    """`num_layers` copies of a `TransformerEncoderLayer`, which all begin with its weights, one
    after another, and a `norm` behind the last, if there is one. mask: see its `src_mask`.
    """

    def __init__(self, encoder_layer, num_layers, norm=None):
        if not isinstance(encoder_layer, Module):
            got = type(encoder_layer).__name__
            raise TypeError(f"TransformerEncoder: encoder_layer must be a module, got {got}")
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.norm = norm

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=False):
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, is_causal)
        return src if self.norm is None else self.norm(src)
