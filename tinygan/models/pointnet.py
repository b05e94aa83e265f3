"""A network of flows and diffusions for points of the plane."""

from .. import nn, ops
from .unet import zero


class PointNet(nn.Module):
    """(x (n, 2), t (n,), rows (n, classes)) -> (n, 2): dense layers that each hear time and label.

    rows: as `labels.one_hot` gives them; None without classes.
    """

    def __init__(self, width=128, depth=3, classes=0):
        self.embedding = nn.SinusoidalEmbedding(32)
        self.first = nn.Linear(2, width)
        self.hear = nn.ModuleList([nn.Linear(32 + classes, width) for _ in range(depth)])
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.last = zero(nn.Linear(width, 2))

    def forward(self, x, t, rows):
        heard, h = self.embedding(t), self.first(x)
        heard = heard if rows is None else ops.concatenate([heard, rows], 1)
        for layer, hear in zip(self.layers, self.hear):
            h = layer(ops.silu(h + hear(heard)))
        return self.last(ops.silu(h))
