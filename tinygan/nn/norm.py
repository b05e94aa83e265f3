"""Normalisations over a batch or a layer; `groups` has those over groups of channels."""

import numpy as np

from .. import ops
from .module import Module, Parameter


def ones_and_zeros(shape, wanted):
    """The weight and the bias to start with: ones and zeros, or None twice."""
    if not wanted:
        return None, None
    return Parameter(np.ones(shape, np.float32)), Parameter(np.zeros(shape, np.float32))


def check(layer, x, channels):
    """ValueError unless x has as many axes as the layer takes, and so many channels."""
    if x.ndim not in layer.axes or x.shape[1] != channels:
        axes = " or ".join(map(str, layer.axes))
        raise ValueError(
            f"{type(layer).__name__}: x must have {axes} axes, {channels} channels the second,"
            f" got shape {x.shape}"
        )


class _BatchNorm(Module):
    across = None  # `parallel` sets it, and then this is what PyTorch calls SyncBatchNorm

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.weight, self.bias = ones_and_zeros(num_features, affine)
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if track_running_stats:
            self.running_mean = np.zeros(num_features, np.float32)
            self.running_var = np.ones(num_features, np.float32)
            self.num_batches_tracked = np.zeros((), np.int64)

    def forward(self, x):
        check(self, x, self.num_features)
        tracked = self.running_mean is not None
        momentum = self.momentum
        learns = self.training and tracked
        if learns and momentum is None:  # the plain average
            momentum = 1 / (int(self.num_batches_tracked) + 1)
        running = (self.running_mean, self.running_var)
        own = (self.weight, self.bias)
        trains = self.training or not tracked
        out = ops.batch_norm(x, *running, *own, trains, momentum, self.eps, self.across)
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
    """Normalisation of each sample over its last axes, of sizes `normalized_shape`; bias: whether
    there is one, where there is a weight (elementwise_affine).
    """

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        one = isinstance(normalized_shape, int)
        self.normalized_shape = (normalized_shape,) if one else tuple(normalized_shape)
        self.eps = eps
        self.weight, self.bias = ones_and_zeros(self.normalized_shape, elementwise_affine)
        self.bias = self.bias if bias else None

    def forward(self, x):
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
