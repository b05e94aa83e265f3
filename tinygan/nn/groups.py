"""Normalisations of each sample: over groups of its channels, or the pixels of each channel."""

from .. import ops
from .module import Module
from .norm import check, ones_and_zeros


class GroupNorm(Module):
    """Normalisation of each sample over groups of its channels: (n, num_channels, ...)."""

    axes = range(2, 6)

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True):
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.weight, self.bias = ones_and_zeros(num_channels, affine)

    def forward(self, x):
        check(self, x, self.num_channels)
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class InstanceNorm1d(GroupNorm):
    """Normalisation of each channel of each signal: (n, num_features, length)."""

    axes = (3,)

    def __init__(
        self, num_features, eps=1e-5, momentum=0.1, affine=False, track_running_stats=False
    ):
        if track_running_stats:
            raise ValueError(
                "InstanceNorm: keeps no running statistics; leave track_running_stats False"
            )
        super().__init__(num_features, num_features, eps, affine)


class InstanceNorm2d(InstanceNorm1d):
    """Normalisation of each channel of each image: (n, num_features, h, w) (Ulyanov 2016)."""

    axes = (4,)
