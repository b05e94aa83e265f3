"""Convolutions of signals (n, c, length), which are images of height 1."""

from ..autograd import describe
from .conv import conv2d, conv_transpose2d


def _signals(f, x, weight, bias, groups, **options):
    """f, of images, on signals (n, c, length) and filters (o, c, k): images of height 1."""
    if x.ndim != 3 or weight.ndim != 3:
        name = f.__name__.replace("2", "1")
        raise ValueError(
            f"{name}: needs x (n, c, length) and weight with 3 axes"
            f" (x: {describe(x)}, weight: {describe(weight)})"
        )
    for name, value in options.items():
        if not isinstance(value, str):
            height = 0 if "padding" in name else 1
            options[name] = (height, *(value if isinstance(value, tuple) else [value]))
    out = f(x[:, :, None], weight[:, :, None], bias, groups=groups, **options)
    return out[:, :, 0]


def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """`conv2d` of signals: (n, c, length), (o, c/groups, k), (o,) -> (n, o, new length)."""
    return _signals(
        conv2d, x, weight, bias, groups, stride=stride, padding=padding, dilation=dilation
    )


def conv_transpose1d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """`conv_transpose2d` of signals: (n, c, length), (c, o/groups, k) -> (n, o, new length)."""
    options = {"stride": stride, "padding": padding, "output_padding": output_padding}
    return _signals(conv_transpose2d, x, weight, bias, groups, dilation=dilation, **options)
