"""A small U-Net for diffusion and flows (Ronneberger 2015; Ho 2020): from an image, a time and a
label to an image of the same size.

It is made for two cores. Squares of 2x2 pixels count as channels, so that no convolution runs at
full size; halves of the way down are *added* on the way up; and in the middle one dense layer sees
the whole of the smallest map, which tells digits apart sooner than any stack of convolutions.
"""

import math

from .. import nn, ops
from .sizes import halved

HEARD = 64  # features of the conditions


def zero(layer):
    """The layer, giving 0 at first: a block that ends so begins as the identity."""
    for p in layer.parameters():
        p.data[...] = 0
    return layer


def scale_and_shift(c, layer):
    """What a layer makes of conditions c (n, 64): a scale, about 1, and a shift, (n, k) each."""
    both = ops.reshape(layer(c), (len(c), 2, -1))
    return 1 + both[:, 0], both[:, 1]


def norm(channels):
    """Of groups of about eight channels, as many as divide them."""
    return nn.GroupNorm(math.gcd(channels, max(1, channels // 8)), channels)


class Conditions(nn.Module):
    """What every block hears: of times t (n,), 0 to 1, and labels as rows (n, classes), of which
    one of zeros tells nothing: (n, 64).
    """

    def __init__(self, classes):
        self.embedding = nn.SinusoidalEmbedding(32)
        self.time = nn.Linear(32, HEARD)
        self.label = nn.Linear(classes, HEARD, bias=False) if classes else None
        if classes:  # rows as those of an Embedding
            self.label.weight.data *= (3 * classes) ** 0.5
        self.mix = nn.Linear(HEARD, HEARD)

    def forward(self, t, rows):
        h = self.time(self.embedding(t))
        h = h if self.label is None else h + self.label(rows)
        return ops.silu(self.mix(ops.silu(h)))


class Residual(nn.Module):
    """Twice normalise, SiLU, 3x3 convolution; the conditions scale and shift between the two."""

    def __init__(self, channels):
        self.norm1 = norm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = norm(channels)
        self.hear = zero(nn.Linear(HEARD, 2 * channels))
        self.conv2 = zero(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x, c):
        h, norm = self.conv1(ops.silu(self.norm1(x))), self.norm2
        scale, shift = scale_and_shift(c, self.hear)
        weight, bias = norm.weight * scale, norm.bias * scale + shift  # (n, channels)
        h = ops.group_norm(h, norm.num_groups, weight, bias, norm.eps)
        return x + self.conv2(ops.silu(h))


class Whole(nn.Module):
    """The whole map at once: a dense layer to `hidden` features, which the conditions scale and
    shift, and one back. It reaches everywhere, and what a label says may differ from place to
    place.
    """

    def __init__(self, channels, side, hidden):
        size = channels * side**2
        self.norm = nn.GroupNorm(1, channels)
        self.inward = nn.Linear(size, hidden)
        self.hear = zero(nn.Linear(HEARD, 2 * hidden))
        self.outward = zero(nn.Linear(hidden, size))

    def forward(self, x, c):
        scale, shift = scale_and_shift(c, self.hear)
        h = self.inward(ops.flatten(self.norm(x), 1)) * scale + shift
        return x + ops.reshape(self.outward(ops.silu(h)), x.shape)


class Attention(nn.Module):
    """Normalise, then each pixel takes from all others (see `nn.SelfAttention2d`)."""

    def __init__(self, channels, heads):
        self.norm = norm(channels)
        self.attention = nn.SelfAttention2d(channels, heads)
        zero(self.attention.proj)

    def forward(self, x, c):
        return x + self.attention(self.norm(x))


class UNet(nn.Module):
    """(x (n, channels, side, side), t (n,), rows (n, classes)) -> (n, channels, side, side).

    width: channels of the finest level, which has half the side; each further one has twice as
    many and half the side, as often as `sizes.halved` says: 28 -> 14 with width, 7 with 2 * width.
    hidden: features of the dense layer in the middle, 0 for none; heads: of self-attention there,
    0 for none.
    """

    def __init__(self, side=28, channels=1, classes=0, width=32, hidden=256, heads=0):
        sides = halved("unet", side, channels)[1:]
        widths = [width * 2**i for i in range(len(sides))]
        self.conditions = Conditions(classes)
        self.first = nn.Conv2d(4 * channels, width, 3, padding=1)
        self.down = nn.ModuleList([Residual(w) for w in widths[:-1]])
        self.halve = nn.ModuleList([nn.Conv2d(w, 2 * w, 2, stride=2) for w in widths[:-1]])
        middle = [Whole(widths[-1], sides[-1], hidden)] if hidden else []
        middle += [Attention(widths[-1], heads)] if heads else []
        self.middle = nn.ModuleList([*middle, Residual(widths[-1])])
        self.enlarge = nn.ModuleList([nn.Conv2d(2 * w, w, 1) for w in widths[:-1]])
        self.up = nn.ModuleList([Residual(w) for w in widths[:-1]])
        self.norm = norm(width)
        self.last = zero(nn.Conv2d(width, 4 * channels, 3, padding=1))

    def forward(self, x, t, rows):
        c, passed = self.conditions(t, rows), []
        h = self.first(ops.pixel_unshuffle(x, 2))
        for block, halve in zip(self.down, self.halve):
            h = block(h, c)
            passed.append(h)
            h = halve(h)
        for block in self.middle:
            h = block(h, c)
        for block, enlarge in zip(reversed([*self.up]), reversed([*self.enlarge])):
            h = ops.interpolate(enlarge(h), scale_factor=2) + passed.pop()
            h = block(h, c)
        return ops.pixel_shuffle(self.last(ops.silu(self.norm(h))), 2)
