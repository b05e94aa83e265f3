"""Convolutions of signals (n, c, length) and of images (n, c, h, w), and their transposes."""

from .. import ops
from ..ops.conv import pair
from . import init
from .module import Module


class _Convolution(Module):
    def _make(self, shape, kernel_size, out_channels, bias, groups, **options):
        if groups < 1 or shape[0] % groups or shape[1] % groups:
            raise ValueError(
                f"{type(self).__name__}: groups={groups} must divide the channels {shape}"
            )
        shape = (shape[0], shape[1] // groups, *pair("kernel_size", kernel_size, 1, self.axes))
        # axes in memory: (kh, kw, c, o), the order in which the kernel reads the weight
        order = (*range(2, len(shape)), 1, 0)
        self.weight = init.uniform(shape, init.bound(shape), order)
        self.bias = init.uniform((out_channels,), init.bound(shape)) if bias else None
        self.options = {"groups": groups, **options}

    def forward(self, x):
        return self.function(x, self.weight, self.bias, **self.options)

    def extra_repr(self):
        options = [f"{k}={v}" for k, v in self.options.items()]
        return ", ".join([f"weight {self.weight.shape}", *options])


class _Conv(_Convolution):
    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1,
        groups=1, bias=True,
    ):  # fmt: skip
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        self._make((out_channels, in_channels), kernel_size, out_channels, bias, groups, **options)


class Conv1d(_Conv):
    """(n, in_channels, length) -> (n, out_channels, new length); see `ops.conv1d`."""

    axes = 1
    function = staticmethod(ops.conv1d)


class Conv2d(_Conv):
    """(n, in_channels, h, w) -> (n, out_channels, oh, ow); see `ops.conv2d`."""

    axes = 2
    function = staticmethod(ops.conv2d)


class _ConvTranspose(_Convolution):
    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0,
        groups=1, bias=True, dilation=1,
    ):  # fmt: skip
        options = {"stride": stride, "padding": padding, "output_padding": output_padding}
        options["dilation"] = dilation
        self._make((in_channels, out_channels), kernel_size, out_channels, bias, groups, **options)


class ConvTranspose1d(_ConvTranspose):
    """(n, in_channels, length) -> (n, out_channels, new length); see `ops.conv_transpose1d`."""

    axes = 1
    function = staticmethod(ops.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """(n, in_channels, h, w) -> (n, out_channels, oh, ow); see `ops.conv_transpose2d`."""

    axes = 2
    function = staticmethod(ops.conv_transpose2d)
