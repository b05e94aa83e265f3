"""The layers, with PyTorch's names, arguments, state_dict keys and initial values. Images are (n, c, h, w).

A layer holds parameters and calls an operation of `ops`; it knows no loss and no optimizer.
"""

import numpy as np

from .. import device, ops, random
from ..ops.conv import pair
from . import init
from .module import Module, Parameter


class Linear(Module):
    """x @ weight.T + bias: (..., in_features) -> (..., out_features)."""

    def __init__(self, in_features, out_features, bias=True):
        bound = init.bound((out_features, in_features))
        self.weight = init.uniform((out_features, in_features), bound)
        self.bias = init.uniform((out_features,), bound) if bias else None

    def forward(self, x):
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, bias={self.bias is not None}"


class _Conv(Module):
    def __init__(self, shape, kernel_size, out_channels, bias, groups, **options):
        if groups < 1 or shape[0] % groups or shape[1] % groups:
            raise ValueError(f"{type(self).__name__}: groups={groups} must divide the channels {shape}")
        shape = (shape[0], shape[1] // groups, *pair("kernel_size", kernel_size, 1))
        self.weight = init.uniform(shape, init.bound(shape), order=(2, 3, 1, 0))  # lies as the matrix it is multiplied as
        self.bias = init.uniform((out_channels,), init.bound(shape)) if bias else None
        self.options = {"groups": groups, **options}

    def extra_repr(self):
        return ", ".join([f"weight {self.weight.shape}", *(f"{name}={value}" for name, value in self.options.items())])


class Conv2d(_Conv):
    """(n, in_channels, h, w) -> (n, out_channels, oh, ow); see `ops.conv2d`."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True):
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        super().__init__((out_channels, in_channels), kernel_size, out_channels, bias, groups, **options)

    def forward(self, x):
        return ops.conv2d(x, self.weight, self.bias, **self.options)


class ConvTranspose2d(_Conv):
    """(n, in_channels, h, w) -> (n, out_channels, oh, ow); see `ops.conv_transpose2d`."""

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True, dilation=1
    ):
        options = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
        super().__init__((in_channels, out_channels), kernel_size, out_channels, bias, groups, **options)

    def forward(self, x):
        return ops.conv_transpose2d(x, self.weight, self.bias, **self.options)


class _BatchNorm(Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        self.eps, self.momentum = eps, momentum
        self.weight = Parameter(np.ones(num_features, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_features, np.float32)) if affine else None
        self.running_mean = np.zeros(num_features, np.float32) if track_running_stats else None
        self.running_var = np.ones(num_features, np.float32) if track_running_stats else None
        self.num_batches_tracked = np.zeros((), np.int64) if track_running_stats else None

    def forward(self, x):
        if x.ndim not in self.axes:
            raise ValueError(f"{type(self).__name__}: x must have {' or '.join(map(str, self.axes))} axes, got shape {x.shape}")
        tracked, momentum = self.running_mean is not None, self.momentum
        if self.training and tracked:
            self.num_batches_tracked += 1
            momentum = 1 / int(self.num_batches_tracked) if momentum is None else momentum  # None: the plain average
        return ops.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training or not tracked, momentum, self.eps
        )

    def extra_repr(self):
        return f"{len(self.weight) if self.weight is not None else ''}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of features: (n, num_features) or (n, num_features, length)."""

    axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of image channels: (n, num_features, h, w)."""

    axes = (4,)


class LayerNorm(Module):
    """Normalisation of each sample over its last axes, of sizes `normalized_shape`."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True):
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.weight = Parameter(np.ones(self.normalized_shape, np.float32)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(self.normalized_shape, np.float32)) if elementwise_affine else None

    def forward(self, x):
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, eps={self.eps}"


class Dropout(Module):
    """In training, zero each element with probability p and divide the rest by 1 - p (Srivastava 2014)."""

    def __init__(self, p=0.5):
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must be from 0 to 1, got {p}")
        self.p = p

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        scale = 1 / (1 - self.p) if self.p < 1 else 0.0
        shape = (*x.shape[:1], *x.shape[2:], *x.shape[1:2])  # channels last, as convolutions leave images in memory
        mask = random.default.bernoulli(1 - self.p, shape, x.dtype, device.of(ops.raw(x)), scale)
        return x * (np.moveaxis(mask, -1, 1) if x.ndim > 2 else mask)

    def extra_repr(self):
        return f"p={self.p}"


class LeakyReLU(Module):
    """x where x > 0, negative_slope * x elsewhere."""

    def __init__(self, negative_slope=0.01):
        self.negative_slope = negative_slope

    def forward(self, x):
        return ops.leaky_relu(x, self.negative_slope)

    def extra_repr(self):
        return f"{self.negative_slope}"


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x):
        return ops.relu(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x):
        return ops.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x):
        return ops.sigmoid(x)


class Softplus(Module):
    """log(1 + exp(x))."""

    def forward(self, x):
        return ops.softplus(x)


class Flatten(Module):
    """Axes start_dim to end_dim made one: (n, c, h, w) -> (n, c*h*w) by default."""

    def __init__(self, start_dim=1, end_dim=-1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        return ops.flatten(x, self.start_dim, self.end_dim)


class Unflatten(Module):
    """Axis `dim` split into several: Unflatten(1, (c, h, w)) takes (n, c*h*w) to (n, c, h, w)."""

    def __init__(self, dim, unflattened_size):
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, x):
        dim = self.dim % x.ndim
        return ops.reshape(x, x.shape[:dim] + self.unflattened_size + x.shape[dim + 1 :])

    def extra_repr(self):
        return f"{self.dim}, {self.unflattened_size}"


class Sequential(Module):
    """Modules one after another, numbered from 0."""

    def __init__(self, *modules):
        for i, m in enumerate(modules):
            setattr(self, str(i), m)

    def __iter__(self):
        return iter([m for _, m in self.children()])

    def __len__(self):
        return len(self.children())

    def __getitem__(self, i):
        return Sequential(*list(self)[i]) if isinstance(i, slice) else list(self)[i]

    def forward(self, x):
        for m in self:
            x = m(x)
        return x
