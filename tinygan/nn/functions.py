"""Layers without parameters: functions of `ops` under PyTorch's names, their other arguments kept.

Where PyTorch's layer calls an argument otherwise than the function does, another renames it.
"""

import inspect

from .. import ops
from .module import Module


class Stateless(Module):
    """A layer without parameters: a function of its input, whose other arguments the layer takes.

        class MaxPool2d(Stateless, function=ops.max_pool2d):
            ...               # MaxPool2d(kernel_size, stride=None, padding=0)

    inputs: how many arguments come with the call. inplace: whether PyTorch's layer has that
    argument, which is taken and ignored: nothing here is computed in place.
    """

    def __init_subclass__(cls, function=None, inputs=1, inplace=False):
        if function is None:  # a layer derived from a layer
            return
        options = list(inspect.signature(function).parameters.values())[inputs:]
        cls.function = staticmethod(function)
        cls.options = [p.name for p in options]
        if inplace:
            options += inspect.signature(lambda inplace=False: None).parameters.values()
        cls.__signature__ = inspect.Signature(options)

    def __init__(self, *args, **kwargs):
        try:
            given = self.__signature__.bind(*args, **kwargs)
        except TypeError as e:
            raise TypeError(f"{type(self).__name__}{self.__signature__}: {e}") from None
        given.apply_defaults()
        vars(self).update(given.arguments)

    def forward(self, *inputs):
        return self.function(*inputs, **{name: getattr(self, name) for name in self.options})


class ReLU(Stateless, function=ops.relu, inplace=True):
    """max(x, 0)."""


class LeakyReLU(Stateless, function=ops.leaky_relu, inplace=True):
    """x where x > 0, negative_slope * x elsewhere."""


class ELU(Stateless, function=ops.elu, inplace=True):
    """x where x > 0, alpha * (exp(x) - 1) elsewhere."""


class GELU(Stateless, function=ops.gelu):
    """x * P(a standard normal number < x)."""


class SiLU(Stateless, function=ops.silu, inplace=True):
    """x * sigmoid(x)."""


def _hardtanh(x, min_val=-1.0, max_val=1.0):
    return ops.clip(x, min_val, max_val)


class Hardtanh(Stateless, function=_hardtanh, inplace=True):
    """x limited to [min_val, max_val]."""


class Tanh(Stateless, function=ops.tanh):
    """The hyperbolic tangent."""


class Sigmoid(Stateless, function=ops.sigmoid):
    """1 / (1 + exp(-x))."""


class Softplus(Stateless, function=lambda x, beta=1.0: ops.softplus(x * beta) / beta):
    """log(1 + exp(beta * x)) / beta, exact everywhere: PyTorch's `threshold` is not needed."""


class Softmax(Stateless, function=lambda x, dim=-1: ops.softmax(x, dim)):
    """exp(x) / sum(exp(x)) over the axis `dim`."""


class LogSoftmax(Stateless, function=lambda x, dim=-1: ops.log_softmax(x, dim)):
    """log(softmax(x)) over the axis `dim`."""


class MaxPool2d(Stateless, function=ops.max_pool2d):
    """The largest pixel of each window: (n, c, h, w) -> (n, c, oh, ow)."""


class AvgPool2d(Stateless, function=ops.avg_pool2d):
    """The mean of each window: (n, c, h, w) -> (n, c, oh, ow)."""


class AdaptiveAvgPool2d(Stateless, function=ops.adaptive_avg_pool2d):
    """Means over a grid of windows: (n, c, h, w) -> (n, c, *output_size)."""


class Upsample(Stateless, function=ops.interpolate):
    """Images resized to `size` or by `scale_factor`; mode "nearest" or "bilinear"."""


class ZeroPad2d(Stateless, function=lambda x, padding: ops.pad2d(x, padding)):
    """Zeros around images; padding: a number or (left, right, top, bottom), here and below."""


class ReflectionPad2d(Stateless, function=lambda x, padding: ops.pad2d(x, padding, "reflect")):
    """What is inside, mirrored at the outermost pixels, around images."""


class ReplicationPad2d(Stateless, function=lambda x, padding: ops.pad2d(x, padding, "replicate")):
    """The outermost pixels repeated around images."""


class PixelShuffle(Stateless, function=ops.pixel_shuffle):
    """(n, c*r*r, h, w) -> (n, c, h*r, w*r), r = upscale_factor."""


class PixelUnshuffle(Stateless, function=ops.pixel_unshuffle):
    """(n, c, h*r, w*r) -> (n, c*r*r, h, w), r = downscale_factor."""


def _flatten(x, start_dim=1, end_dim=-1):
    return ops.flatten(x, start_dim, end_dim)


class Flatten(Stateless, function=_flatten):
    """Axes start_dim to end_dim made one: (n, c, h, w) -> (n, c*h*w) by default."""


def _unflatten(x, dim, unflattened_size):
    if not -x.ndim <= dim < x.ndim:
        raise IndexError(f"Unflatten: there is no axis {dim} in x of shape {x.shape}")
    return ops.reshape(x, x.shape[:dim] + tuple(unflattened_size) + x.shape[dim % x.ndim + 1 :])


class Unflatten(Stateless, function=_unflatten):
    """Axis `dim` split into several: Unflatten(1, (c, h, w)) takes (n, c*h*w) to (n, c, h, w)."""


class Identity(Stateless, function=lambda x: x):
    """x itself."""

    def __init__(self, *args, **kwargs):
        """Whatever it is given, as in PyTorch."""
