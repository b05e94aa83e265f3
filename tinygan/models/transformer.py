"""A small Transformer for text (Vaswani 2017; Radford 2019): from tokens to a score for each token
of the vocabulary, at every place.

One network serves both ways of learning from text alone. `causal`, each place sees itself and what
comes before it, and its scores are of the token that comes next: a language model (`gpt`). Else
each sees all the others, and its scores are of the token that belongs there: what is masked can be
guessed (`bert`). Nothing but who may look at whom differs.
"""

import numpy as np

from .. import nn, ops, random
from ..autograd import describe
from .options import checked_options

STD = 0.02  # of the first weights (Radford 2018)


class Block(nn.TransformerEncoderLayer):
    """A block with normalisation first, as GPT-2 has it; it may go on from a cache of keys and
    values, and tell places by turning them.
    """

    def __init__(self, width, heads, causal, rotary, **options):
        options |= {"batch_first": True, "norm_first": True}
        super().__init__(width, heads, 4 * width, **options)
        self.causal = causal
        self.rotary = nn.RotaryEmbedding(width // heads) if rotary else None

    def forward(self, x, past=None):
        """x (n, t, width); past: keys and values (n, heads, places, features) of the places before
        these. Gives x for the next block, and the keys and values with those of these places.
        """
        attention = self.self_attn
        h = self.norm1(x)
        q, k, v = attention.heads(h, h, h)
        start = 0 if past is None else past[0].shape[2]
        if self.rotary is not None:
            q, k = self.rotary(q, start), self.rotary(k, start)
        if past is not None:
            k, v = (ops.concatenate(pair, 2) for pair in zip(past, (k, v)))
        options = {"dropout_p": attention.dropout if self.training else 0.0}
        if start and self.causal and q.shape[2] > 1:
            places = np.arange(k.shape[2], like=ops.raw(k))
            options["attn_mask"] = places <= places[start:, None]
        found = ops.scaled_dot_product_attention(
            q, k, v, is_causal=self.causal and not start, **options
        )
        x = x + self.dropout1(attention.joined(found))
        return x + self.feed_forward(self.norm2(x)), (k, v)


class Transformer(nn.Module):
    """Tokens, raw integers (n, t) below `vocabulary`, t at most `context` -> scores (n, t,
    vocabulary).

    width: features of each place; depth: blocks; heads: of each block's attention. positions: how
    places are told apart, "learnt", a row for each that is added, or "rotary", which learns
    nothing. bias: whether dense layers and normalisations have one. activation: "gelu", "relu", or
    "gelu_tanh", GPT-2's. The rows that tokens become are also what scores are products with (Press
    & Wolf 2017).
    """

    def __init__(
        self, vocabulary, context=64, width=128, depth=4, heads=4, dropout=0.0, causal=True,
        positions="learnt", bias=True, activation="gelu",
    ):  # fmt: skip
        sizes = {"context": context, "width": width, "depth": depth, "heads": heads}
        own = sizes | {"dropout": dropout, "positions": positions, "activation": activation}
        context = checked_options("Transformer", **own)["context"]
        self.context = context
        self.tokens = nn.Embedding(vocabulary, width)
        rotary = positions == "rotary"
        self.places = None if rotary else nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        own = width, heads, causal, rotary
        options = {"dropout": dropout, "bias": bias, "activation": activation}
        self.blocks = nn.ModuleList([Block(*own, **options) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, bias=bias)
        self._initialise(depth)

    def _initialise(self, depth):
        """Weights from N(0, 0.02), those that add to the stream less, by the number of them; biases
        0 (Radford 2019, section 2.3).
        """
        for name, p in self.named_parameters():
            if p.ndim > 1:
                adds = name.endswith(("out_proj.weight", "linear2.weight"))
                std = STD * (2 * depth) ** -0.5 if adds else STD
                p.data[...] = random.default.normal(p.shape) * std
            elif name.endswith("bias"):
                p.data[...] = 0

    def forward(self, tokens, cache=None):
        return self.scores(self.features(tokens, cache))

    def features(self, tokens, cache=None, prefix=None):
        """What it says of each place, (n, t, width): the last block's, normalised.

        cache: a list, empty at first, of keys and values, to which those of these tokens are added:
        the next call goes on behind them. prefix: a Tensor (places, width) to stand ahead of every
        row as tokens would; it is left out of what is given.
        """
        if tokens.ndim != 2 or (cache and prefix is not None):
            words = f"needs tokens (n, t), and no cache beside a prefix, got {describe(tokens)}"
            raise ValueError(f"Transformer: {words}")
        x = self.tokens(tokens)
        if prefix is not None:
            n, rows = len(x), ops.reshape(prefix, (1, *prefix.shape))
            x = ops.concatenate([ops.broadcast_to(rows, (n, *prefix.shape)), x], 1)
        start = cache[0][0].shape[2] if cache else 0
        if start + x.shape[1] > self.context:
            words = f"{start + x.shape[1]} places, and its context has {self.context}"
            raise ValueError(f"Transformer: tokens {describe(tokens)} make {words}")
        if self.places is not None:
            x = x + self.places.weight[start : start + x.shape[1]]
        x = self.dropout(x)
        past = cache or [None] * len(self.blocks)
        kept = []
        for block, own in zip(self.blocks, past):
            x, now = block(x, own)
            kept.append(now)
        if cache is not None:
            cache[:] = kept
        return self.norm(x if prefix is None else x[:, len(prefix) :])

    def scores(self, features):
        """(..., width) -> (..., vocabulary)."""
        return ops.linear(features, self.tokens.weight)
