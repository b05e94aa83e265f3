"""Layers of networks that hear a time and see a whole image: what diffusion models are made of."""

import math

import numpy as np

from .. import ops
from ..autograd import describe
from .layers import Linear
from .module import Module


class SinusoidalEmbedding(Module):
    """Times (n,) as sines and cosines of many speeds, (n, dim), for a network to tell them apart.

    The frequencies, half of dim, go in equal ratios from `slowest` to `fastest`, in radians: for
    times in [0, 1], of a quarter of a turn to sixteen turns. (Vaswani 2017, section 3.5)
    """

    def __init__(self, dim, slowest=math.pi / 2, fastest=32 * math.pi):
        if dim < 4 or dim % 2:
            raise ValueError(f"SinusoidalEmbedding: dim must be even, 4 or more, got {dim}")
        self.dim = dim
        self.frequencies = np.geomspace(slowest, fastest, dim // 2, dtype=np.float32)

    def forward(self, t):
        angles = ops.reshape(t, (-1, 1)) * ops.raw(self.frequencies).astype(t.dtype, copy=False)
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], 1)


class SelfAttention2d(Module):
    """Each pixel of images (n, channels, h, w) takes from all others what it asks for.

    Query, key and value are one dense layer's, cut into `num_heads` parts of the channels that look
    about on their own; another dense layer joins what they bring. (Vaswani 2017, section 3.2.2; of
    pixels, Zhang 2019)
    """

    def __init__(self, channels, num_heads=1):
        if num_heads < 1 or channels % num_heads:
            raise ValueError(
                f"SelfAttention2d: {num_heads} heads cannot share {channels} channels equally"
            )
        self.channels = channels
        self.num_heads = num_heads
        self.qkv = Linear(channels, 3 * channels)
        self.proj = Linear(channels, channels)

    def forward(self, x):
        if x.ndim != 4 or x.shape[1] != self.channels:
            wanted = f"(n, {self.channels}, h, w)"
            raise ValueError(f"SelfAttention2d: needs x {wanted}, got {describe(x)}")
        n, c, h, w = x.shape
        pixels = ops.reshape(ops.transpose(x, (0, 2, 3, 1)), (n, h * w, c))
        # (3, n, heads, h * w, c / heads): the batched products are then one call each
        parts = ops.reshape(self.qkv(pixels), (n, h * w, 3, self.num_heads, c // self.num_heads))
        parts = ops.transpose(parts, (2, 0, 3, 1, 4))
        found = ops.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        joined = self.proj(ops.reshape(ops.transpose(found, (0, 2, 1, 3)), (n, h * w, c)))
        return ops.transpose(ops.reshape(joined, (n, h, w, c)), (0, 3, 1, 2))
