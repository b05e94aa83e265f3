"""Convolution and transposed convolution through one trilinear form.

A convolution pairs an image x, a filter w and an output y:  <conv(x, w), y> = sum x[pixel] * w[tap]
* y[position]  over all (pixel, tap, position) where that position's tap reads that pixel. Fixing
two of the three gives a linear map to the third:

    _conv(x, w) -> y       _transposed(y, w) -> x       _filter(x, y) -> w

and the derivative of each is the other two: six one-line rules, closed under differentiation,
whatever the stride, padding, dilation and groups (Dumoulin & Visin 2016 draw the pictures). Each is
told the `size` of its result, because a stride that does not divide leaves it open.
`kernels/reference.py` shows each as im2col and a matrix product. The images are channels-last in
memory, behind (n, c, h, w) views.
"""

import numpy as np

from .. import kernels
from ..autograd import describe, primitive
from .reduce import sum_channels
from .shape import pad, reshape


@primitive
# (n, c, h, w), (o, c/groups, kh, kw), (o,) -> (n, o, *size)
def _conv(x, w, b=None, *, size, groups, **geometry):
    if groups > 1:
        parts = _split(groups, (x, 1), (w, 0), (b, 0))
        return np.concatenate([_conv(*part, size=size, groups=1, **geometry) for part in parts], 1)
    return kernels.of(x).conv(_last(x), _filters(w), size, **geometry, bias=b).transpose(0, 3, 1, 2)


@primitive
# (n, o, oh, ow), (o, c/groups, kh, kw), (c,) -> (n, c, *size)
def _transposed(y, w, b=None, *, size, groups, **geometry):
    if groups > 1:
        parts = _split(groups, (y, 1), (w, 0), (b, 0))
        return np.concatenate(
            [_transposed(*part, size=size, groups=1, **geometry) for part in parts], 1
        )
    return (
        kernels.of(y)
        .conv_transpose(_last(y), _filters(w), size, **geometry, bias=b)
        .transpose(0, 3, 1, 2)
    )


@primitive
# (n, c, h, w), (n, o, oh, ow) -> (o, c/groups, *size)
def _filter(x, y, *, size, groups, **geometry):
    if groups > 1:
        parts = _split(groups, (x, 1), (y, 1))
        return np.concatenate(
            [_filter(*part, size=size, groups=1, **geometry) for part in parts], 0
        )
    return kernels.of(x).conv_filter(_last(x), _last(y), size, **geometry).transpose(3, 2, 0, 1)


_conv.defvjp(
    lambda g, out, x, w, b=None, *, size, **geometry: _transposed(
        g, w, size=x.shape[2:], **geometry
    ),
    lambda g, out, x, w, b=None, *, size, **geometry: _filter(x, g, size=w.shape[2:], **geometry),
    lambda g, out, x, w, b, **geometry: sum_channels(g),
)
_transposed.defvjp(
    lambda g, out, y, w, b=None, *, size, **geometry: _conv(g, w, size=y.shape[2:], **geometry),
    lambda g, out, y, w, b=None, *, size, **geometry: _filter(g, y, size=w.shape[2:], **geometry),
    lambda g, out, y, w, b, **geometry: sum_channels(g),
)
_filter.defvjp(
    lambda g, out, x, y, size, **geometry: _transposed(y, g, size=x.shape[2:], **geometry),
    lambda g, out, x, y, size, **geometry: _conv(x, g, size=y.shape[2:], **geometry),
)


def _last(x):
    """(n, c, h, w) as (n, h, w, c)."""
    return x.transpose(0, 2, 3, 1)


def _filters(w):
    """(o, c, kh, kw) as (kh, kw, c, o)."""
    return w.transpose(2, 3, 1, 0)


def _split(groups, *arrays):
    return zip(*([None] * groups if a is None else np.split(a, groups, axis) for a, axis in arrays))


def pair(name, value, least, count=2):
    """A size, stride, ... given as one number or as `count` of them, such as (height, width)."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * count
    if len(given) != count or not all(
        isinstance(v, (int, np.integer)) and v >= least for v in given
    ):
        raise ValueError(
            f"{name} must be a whole number >= {least}, or {count} of them, got {value!r}"
        )
    return tuple(map(int, given))


def _check(name, x, weight, bias, groups, channels, biases):
    if x.ndim != 4 or weight.ndim != 4:
        wrong = "needs x (n, c, h, w) or (c, h, w), and weight with 4 axes"
    elif groups < 1 or weight.shape[0] % groups:
        wrong = (
            f"groups={groups} must be at least 1 and divide weight's first size {weight.shape[0]}"
        )
    elif x.shape[1] != channels:
        wrong = f"x has {x.shape[1]} channels but weight expects {channels}"
    elif bias is not None and bias.shape != (biases,):
        wrong = f"bias must have shape ({biases},), got {describe(bias)}"
    else:
        return
    raise ValueError(f"{name}: {wrong} (x: {describe(x)}, weight: {describe(weight)})")


def _biased(face, x, weight, bias, **options):
    """face with its bias inside; a bias of another type is added as NumPy adds it, integers count
    in the weight's type.
    """
    x = x.astype(weight.dtype) if x.dtype.kind in "iub" else x
    if bias is None or x.dtype == weight.dtype == bias.dtype:
        return face(x, weight, bias, **options)
    return face(x, weight, **options) + reshape(bias, (-1, 1, 1))


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation, as `torch.nn.functional.conv2d`: (n, c, h, w), (o, c/groups, kh, kw), (o,)
    -> (n, o, oh, ow).

    oh = (h + 2*padding - dilation*(kh - 1) - 1) // stride + 1. padding may also be "valid" (none)
    or "same" (oh = h, for stride 1; an odd total puts the extra zeros below and right). A single
    image (c, h, w) gives (o, oh, ow).
    """
    if x.ndim == 3:
        return conv2d(reshape(x, (1, *x.shape)), weight, bias, stride, padding, dilation, groups)[0]
    _check(
        "conv2d",
        x,
        weight,
        bias,
        groups,
        weight.shape[min(1, weight.ndim - 1)] * groups,
        len(weight),
    )
    stride, dilation = pair("conv2d: stride", stride, 1), pair("conv2d: dilation", dilation, 1)
    kernel = weight.shape[2:]
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f"conv2d: padding='same' needs stride 1, got {stride}")
        total = [d * (k - 1) for d, k in zip(dilation, kernel)]
        x, padding = (
            pad(x, ((0, 0), (0, 0), *((0, t % 2) for t in total))),
            tuple(t // 2 for t in total),
        )
    padding = pair("conv2d: padding", 0 if padding == "valid" else padding, 0)
    size = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation)
    )
    if min(size) < 1 or min(kernel) < 1:
        raise ValueError(
            f"conv2d: kernel {kernel}, dilation {dilation}, does not fit padding {padding} around x: {describe(x)}"
        )
    return _biased(
        _conv,
        x,
        weight,
        bias,
        size=size,
        groups=groups,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )


def conv_transpose2d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """The adjoint of conv2d, as `torch.nn.functional.conv_transpose2d`: (n, c, h, w), (c, o/groups,
    kh, kw) -> (n, o, oh, ow).

    oh = (h - 1)*stride - 2*padding + dilation*(kh - 1) + output_padding + 1, where output_padding,
    smaller than stride or dilation, chooses among the image sizes that conv2d would bring to h. A
    single image (c, h, w) gives (o, oh, ow).
    """
    if x.ndim == 3:
        return conv_transpose2d(
            reshape(x, (1, *x.shape)),
            weight,
            bias,
            stride,
            padding,
            output_padding,
            groups,
            dilation,
        )[0]
    _check(
        "conv_transpose2d",
        x,
        weight,
        bias,
        groups,
        len(weight),
        weight.shape[min(1, weight.ndim - 1)] * groups,
    )
    stride, dilation = (
        pair("conv_transpose2d: stride", stride, 1),
        pair("conv_transpose2d: dilation", dilation, 1),
    )
    padding, extra = (
        pair("conv_transpose2d: padding", padding, 0),
        pair("conv_transpose2d: output_padding", output_padding, 0),
    )
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise ValueError(
            f"conv_transpose2d: output_padding {extra} must be smaller than stride {stride} or dilation {dilation}"
        )
    axes = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, extra)
    size = tuple((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, d, e in axes)
    if min(size) < 1:
        raise ValueError(
            f"conv_transpose2d: padding {padding} leaves a result of {size} from x: {describe(x)}"
        )
    return _biased(
        _transposed,
        x,
        weight,
        bias,
        size=size,
        groups=groups,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
