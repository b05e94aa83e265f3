"""Normalisations: over a batch, a layer, groups of channels, or the pixels of a channel."""

import numpy as np

from .. import ops
from .module import Module, Parameter


def _affine(shape, wanted):
    """The weight and the bias to start with: ones and zeros, or None twice."""
    ones, zeros = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    return (Parameter(ones), Parameter(zeros)) if wanted else (None, None)


def _check(layer, x, channels):
    if x.ndim not in layer.axes or x.shape[1] != channels:
        axes = " or ".join(map(str, layer.axes))
        raise ValueError(
            f"{type(layer).__name__}: x must have {axes} axes, {channels} channels the second, got"
            f" shape {x.shape}"
        )


class _BatchNorm(Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight, self.bias = _affine(num_features, affine)
        self.running_mean = np.zeros(num_features, np.float32) if track_running_stats else None
        self.running_var = np.ones(num_features, np.float32) if track_running_stats else None
        self.num_batches_tracked = np.zeros((), np.int64) if track_running_stats else None

    def forward(self, x):
        _check(self, x, self.num_features)
        tracked, momentum = self.running_mean is not None, self.momentum
        learns = self.training and tracked
        if learns and momentum is None:  # the plain average
            momentum = 1 / (int(self.num_batches_tracked) + 1)
        running, own = (self.running_mean, self.running_var), (self.weight, self.bias)
        out = ops.batch_norm(x, *running, *own, self.training or not tracked, momentum, self.eps)
        if learns:
            self.num_batches_tracked += 1
        return out


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of features: (n, num_features) or (n, num_features, length)."""

    axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of image channels: (n, num_features, h, w)."""

    axes = (4,)


class LayerNorm(Module):
    """Normalisation of each sample over its last axes, of sizes `normalized_shape`."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True):
        one = isinstance(normalized_shape, int)
        self.normalized_shape = (normalized_shape,) if one else tuple(normalized_shape)
        self.eps = eps
        self.weight, self.bias = _affine(self.normalized_shape, elementwise_affine)

    def forward(self, x):
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class GroupNorm(Module):
    """Normalisation of each sample over groups of its channels: (n, num_channels, ...)."""

    axes = range(2, 6)

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True):
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}"
            )
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight, self.bias = _affine(num_channels, affine)

    def forward(self, x):
        _check(self, x, self.num_channels)
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
