"""Convolution and transposed convolution through one trilinear form.

A convolution pairs an image x, a filter w and an output y:

    <conv(x, w), y> = sum x[pixel] * w[tap] * y[position]

over all (pixel, tap, position) where that position's tap reads that pixel. Fixing two of the three
gives a linear map to the third:

    _conv(x, w) -> y       _transposed(y, w) -> x       _filter(x, y) -> w

These are the three faces of the form. The derivative of each is the other two: six one-line rules
(and two for the bias), closed under differentiation, whatever the stride, padding, dilation and
groups (Dumoulin & Visin 2016 draw the pictures). Each is told the `size` of its result, because a
stride that does not divide leaves it open. `kernels/reference.py` shows each as im2col and a matrix
product. The images are channels-last in memory, behind (n, c, h, w) views.
"""

import functools
from typing import NamedTuple

import numpy as np

from .. import kernels
from ..arrays import is_integer
from ..autograd import describe, primitive
from .reduce import sum_channels
from .shape import pad, reshape


class Geometry(NamedTuple):
    """How an image, a filter and the result lie on each other; the tuples are (height, width)."""

    size: tuple  # of the result
    stride: tuple
    padding: tuple
    dilation: tuple
    groups: int

    def giving(self, x):
        """The same, for a result of x's size."""
        return self._replace(size=x.shape[2:])


@primitive
def _conv(x, w, b, geometry):
    """(n, c, h, w), (o, c/groups, kh, kw), (o,) or None -> (n, o, *size)."""
    *spatial, groups = geometry  # spatial: size, stride, padding, dilation
    if groups > 1:
        return _in_groups(_conv, 1, [(x, 1), (w, 0), (b, 0)], geometry)
    out = kernels.of(x).conv(_last(x), _filters(w), *spatial, bias=b)
    return _first(out)


@primitive
def _transposed(y, w, b, geometry):
    """(n, o, oh, ow), (o, c/groups, kh, kw), (c,) or None -> (n, c, *size)."""
    *spatial, groups = geometry  # spatial: size, stride, padding, dilation
    if groups > 1:
        return _in_groups(_transposed, 1, [(y, 1), (w, 0), (b, 0)], geometry)
    out = kernels.of(y).conv_transpose(_last(y), _filters(w), *spatial, bias=b)
    return _first(out)


@primitive
def _filter(x, y, geometry):
    """(n, c, h, w), (n, o, oh, ow) -> (o, c/groups, *size)."""
    *spatial, groups = geometry  # spatial: size, stride, padding, dilation
    if groups > 1:
        return _in_groups(_filter, 0, [(x, 1), (y, 1)], geometry)
    out = kernels.of(x).conv_filter(_last(x), _last(y), *spatial)
    return out.transpose(3, 2, 0, 1)


_conv.defvjp(
    lambda g, out, x, w, b, geometry: _transposed(g, w, None, geometry.giving(x)),
    lambda g, out, x, w, b, geometry: _filter(x, g, geometry.giving(w)),
    lambda g, out, x, w, b, geometry: sum_channels(g),
)
_transposed.defvjp(
    lambda g, out, y, w, b, geometry: _conv(g, w, None, geometry.giving(y)),
    lambda g, out, y, w, b, geometry: _filter(g, y, geometry.giving(w)),
    lambda g, out, y, w, b, geometry: sum_channels(g),
)
_filter.defvjp(
    lambda g, out, x, y, geometry: _transposed(y, g, None, geometry.giving(x)),
    lambda g, out, x, y, geometry: _conv(x, g, None, geometry.giving(y)),
)


def _last(x):
    """(n, c, h, w) as (n, h, w, c)."""
    return x.transpose(0, 2, 3, 1)


def _first(x):
    """(n, h, w, c) as (n, c, h, w)."""
    return x.transpose(0, 3, 1, 2)


def _filters(w):
    """(o, c, kh, kw) as (kh, kw, c, o)."""
    return w.transpose(2, 3, 1, 0)


def _in_groups(op, axis, arrays, geometry):
    """The results of each group, one after another along `axis`; each array comes with the axis
    along which its groups lie.
    """
    n = geometry.groups
    alone = geometry._replace(groups=1)
    split = [[None] * n if a is None else np.split(a, n, along) for a, along in arrays]
    return np.concatenate([op(*part, alone) for part in zip(*split)], axis)


def pair(name, value, least, count=2):
    """A size, stride, ... given as one number or as `count` of them, such as (height, width)."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * count
    sound = all(isinstance(v, (int, np.integer)) and v >= least for v in given)
    if len(given) != count or not sound:
        raise ValueError(
            f"{name} must be a whole number >= {least}, or {count} of them, got {value!r}"
        )
    return tuple(map(int, given))


def one_or_many(f):
    """f, of images (n, c, h, w), as a function of a single image (c, h, w) as well."""

    @functools.wraps(f)
    def either(x, *args, **kwargs):
        if x.ndim == 3:
            return f(reshape(x, (1, *x.shape)), *args, **kwargs)[0]
        return f(x, *args, **kwargs)

    return either


@one_or_many
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation, as `torch.nn.functional.conv2d`.

    (n, c, h, w), (o, c/groups, kh, kw), (o,) -> (n, o, oh, ow), where
    oh = (h + 2*padding - dilation*(kh - 1) - 1) // stride + 1. padding may also be "valid" (none)
    or "same" (oh = h, for stride 1; an odd total puts the extra zeros below and right). A single
    image (c, h, w) gives (o, oh, ow).
    """
    _check("conv2d", x, weight, bias, groups)
    kernel = weight.shape[2:]
    stride = pair("conv2d: stride", stride, 1)
    dilation = pair("conv2d: dilation", dilation, 1)
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f"conv2d: padding='same' needs stride 1, got {stride}")
        total = [d * (k - 1) for d, k in zip(dilation, kernel)]
        odd = [(0, t % 2) for t in total]
        x = pad(x, [(0, 0), (0, 0), *odd])
        padding = tuple(t // 2 for t in total)
    padding = pair("conv2d: padding", 0 if padding == "valid" else padding, 0)
    axes = zip(x.shape[2:], kernel, stride, padding, dilation)
    size = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)
    if min(size) < 1 or min(kernel) < 1:
        raise ValueError(
            f"conv2d: kernel {kernel}, dilation {dilation}, does not fit padding {padding}"
            f" around x: {describe(x)}"
        )
    return _biased(_conv, x, weight, bias, Geometry(size, stride, padding, dilation, groups))


@one_or_many
def conv_transpose2d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """The adjoint of conv2d, as `torch.nn.functional.conv_transpose2d`.

    (n, c, h, w), (c, o/groups, kh, kw), (o,) -> (n, o, oh, ow), where
    oh = (h - 1)*stride - 2*padding + dilation*(kh - 1) + output_padding + 1. output_padding,
    smaller than stride or dilation, chooses among the image sizes that conv2d would bring to h. A
    single image (c, h, w) gives (o, oh, ow).
    """
    _check("conv_transpose2d", x, weight, bias, groups)
    stride = pair("conv_transpose2d: stride", stride, 1)
    dilation = pair("conv_transpose2d: dilation", dilation, 1)
    padding = pair("conv_transpose2d: padding", padding, 0)
    extra = pair("conv_transpose2d: output_padding", output_padding, 0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise ValueError(
            f"conv_transpose2d: output_padding {extra} must be smaller than stride {stride}"
            f" or dilation {dilation}"
        )
    axes = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, extra)
    size = tuple((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, d, e in axes)
    if min(size) < 1:
        raise ValueError(
            f"conv_transpose2d: padding {padding} leaves a result of {size} from x: {describe(x)}"
        )
    return _biased(_transposed, x, weight, bias, Geometry(size, stride, padding, dilation, groups))


def _check(name, x, weight, bias, groups):
    if x.ndim != 4 or weight.ndim != 4:
        wrong = "needs x (n, c, h, w) or (c, h, w), and weight with 4 axes"
    elif groups < 1 or len(weight) % groups:
        wrong = f"groups={groups} must be at least 1 and divide weight's first size {len(weight)}"
    else:
        outputs, channels = len(weight), weight.shape[1] * groups
        if name == "conv_transpose2d":
            outputs, channels = channels, outputs
        if x.shape[1] != channels:
            wrong = f"x has {x.shape[1]} channels but weight expects {channels}"
        elif bias is not None and bias.shape != (outputs,):
            wrong = f"bias must have shape ({outputs},), got {describe(bias)}"
        else:
            return
    raise ValueError(f"{name}: {wrong} (x: {describe(x)}, weight: {describe(weight)})")


def _biased(op, x, weight, bias, geometry):
    """op with its bias inside, or added as NumPy adds it if that is of another dtype.

    An image of integers counts in the weight's dtype.
    """
    x = x.astype(weight.dtype) if is_integer(x) else x
    if bias is None or x.dtype == weight.dtype == bias.dtype:
        return op(x, weight, bias, geometry)
    return op(x, weight, None, geometry) + reshape(bias, (-1, 1, 1))
